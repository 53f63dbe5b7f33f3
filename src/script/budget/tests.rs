use super::*;

fn budget() -> Rc<Budget> {
    let limits = Budgets {
        call_timeout: Duration::from_millis(20),
        stuck: Arc::new(|_| ()),
        ..Budgets::from(&ScriptConfig::default())
    };
    Budget::new(limits).expect("a thread")
}

fn wait_for_the_flag(budget: &Budget) {
    let start = std::time::Instant::now();
    while !budget.flag.is_up() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(start.elapsed() >= Duration::from_millis(19), "too early");
}

#[test]
fn the_flag_is_up_until_the_call_is_over_and_hits_no_other() {
    let budget = budget();
    assert!(!budget.flag.is_up());
    for _ in 0..2 {
        let running = budget.call("x", 1);
        wait_for_the_flag(&budget);
        assert!(budget.stop().check().is_err());
        let failed = running.verdict(Err::<(), _>(mlua::Error::runtime("late")));
        assert_eq!(failed.expect_err("killed").1, Some(Kill::Time));
        drop(running);
        assert!(!budget.flag.is_up());
        let next = budget.call("y", 1);
        assert!(!budget.flag.is_up(), "the kill of the call before");
        drop(next);
    }
}

#[test]
fn a_load_has_its_own_time() {
    let budget = budget();
    let running = budget.load("the top level", 1);
    std::thread::sleep(Duration::from_millis(100));
    assert!(running.verdict(Ok(())).is_ok() && budget.stop().check().is_ok());
}

#[test]
fn guarded_functions_do_what_they_did() {
    let lua = Lua::new();
    let plain = Lua::new();
    crate::script::guards::install(&lua).expect("installed");
    for code in [
        "('hello'):find('l')",
        "('hello'):find('l', 4)",
        "('hello'):find('.', 1, true)",
        "string.find(123, 2)",
        "('hello'):match('(h)(e)')",
        "('hello'):match('l', 4)",
        "('hello'):gsub('l', {l = 'x'})",
        "('hello'):gsub('l', string.upper, 1)",
        "('hello'):gmatch('l')()",
        "table.concat(('a,b'):split(), ';')",
        "table.concat(('axb'):split('x'), ';')",
        "('%d-%s'):format(1, 'x')",
        "('ab'):rep(3)",
        "('ab'):rep(-1)",
        "('Ab'):lower() .. ('Ab'):upper() .. ('Ab'):reverse()",
        "utf8.len('äö')",
        "utf8.offset('äö', 2)",
        "utf8.codepoint('äö', 1, -1)",
        "os.date('!%Y', 0)",
        "table.concat(table.move({1, 2, 3}, 2, 3, 1), ';')",
        "table.concat(table.move({1, 2, 3}, 2, 3, 1, {}), ';')",
        "(function() local t = {3, 1, 2} table.sort(t) return table.concat(t) end)()",
        "(function() local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return table.concat(t) end)()",
        "pcall(string.find)",
        "pcall(string.gsub, 'x', 'x')",
        "pcall(table.move, {}, 'x')",
        "pcall(table.sort, 1)",
    ] {
        let shown = |lua: &Lua| {
            let values = lua.load(format!("return {code}")).eval::<mlua::MultiValue>();
            values.map(|values| {
                let texts = values.iter().map(|value| value.to_string().expect("a text"));
                texts.collect::<Vec<_>>()
            })
        };
        let (guarded, native) = (shown(&lua), shown(&plain));
        match (guarded, native) {
            (Ok(guarded), Ok(native)) if guarded.first().is_some_and(|first| first == "false") => {
                assert_eq!(native.first(), guarded.first(), "{code}");
            }
            (guarded, native) => {
                assert_eq!(guarded.expect(code), native.expect(code), "{code}");
            }
        }
    }
}
