//! "Did you mean": the known name that is nearest to a mistyped one.

/// A longer text is no slip of the pen. It may be a peer's, and comparing takes the product of both
/// lengths.
const LENGTH_MAX: usize = 64;
/// So many names are compared: a script that has more has made them.
const KNOWN_MAX: usize = 500;

/// ` (did you mean 'x'?)`, or nothing where no known name is near.
pub fn did_you_mean(mistyped: &str, known: &[&str]) -> String {
    if mistyped.len() > LENGTH_MAX {
        return String::new();
    }
    let mistyped = mistyped.to_lowercase();
    known
        .iter()
        .filter(|name| name.len() <= LENGTH_MAX)
        .take(KNOWN_MAX)
        .map(|name| (strsim::osa_distance(&mistyped, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| format!(" (did you mean '{name}'?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["connect", "disconnect", "default", "load"];
        assert_eq!(did_you_mean("conect", &known), " (did you mean 'connect'?)");
        assert_eq!(did_you_mean("Default", &known), " (did you mean 'default'?)");
        assert_eq!(did_you_mean("laod", &known), " (did you mean 'load'?)");
        assert_eq!(did_you_mean("tick", &known), "");
        let long = "x".repeat(LENGTH_MAX);
        assert_ne!(did_you_mean(&long, &[&long]), "");
        assert_eq!(did_you_mean(&format!("{long}x"), &[&long]), "", "nothing is compared");
        assert_eq!(did_you_mean(&long, &[&format!("{long}x")]), "", "nor is what is known");
        let many: Vec<&str> = std::iter::repeat_n("else", KNOWN_MAX).chain(["conect"]).collect();
        assert_eq!(did_you_mean("connect", &many), "", "nor are those behind many");
        assert_ne!(did_you_mean("connect", &many[1..]), "");
    }
}
