//! "Did you mean": the known name that is nearest to a mistyped one.

/// A longer text is no slip of the pen. It may be a peer's, and comparing takes its length.
const LENGTH_MAX: usize = 100;

/// ` (did you mean 'x'?)`, or nothing where no known name is near.
pub fn did_you_mean(mistyped: &str, known: &[&str]) -> String {
    if mistyped.len() > LENGTH_MAX {
        return String::new();
    }
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&mistyped.to_lowercase(), name), name))
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
    }
}
