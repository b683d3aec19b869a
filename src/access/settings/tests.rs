//! Rules as operators write them, well and badly.

use crate::problems::Source;
use crate::section::TomlFile;

use super::*;

/// The rules of an app, and what was wrong with them.
fn read(text: &str) -> (Rules, Vec<String>) {
    let source = Source::new("v.toml", text.into());
    let file = TomlFile::parse(&source);
    let rules = Rules::read(&file.root());
    (rules, file.into_problems().iter().map(ToString::to_string).collect())
}

fn good(text: &str) -> Rules {
    let (rules, problems) = read(text);
    assert!(problems.is_empty(), "{text}\n{problems:?}");
    rules
}

/// Rules for these paths and methods, written `"/a GET"`, and which of them are said never to decide.
fn shadowed(lines: &[&str], head: &str) -> Vec<usize> {
    let mut text = format!("{head}\n");
    for line in lines {
        let mut words = line.split(' ');
        text += &format!("[[rule]]\nallow = \"anyone\"\npath = {:?}\n", words.next().unwrap());
        let methods: Vec<_> = words.collect();
        if !methods.is_empty() {
            text += &format!("methods = {methods:?}\n");
        }
    }
    let (_, problems) = read(&text);
    assert!(problems.iter().all(|problem| problem.contains("never decides")), "{problems:?}");
    let line_of = |problem: &String| problem.split(':').nth(1).unwrap().parse::<usize>().unwrap();
    let starts: Vec<_> =
        text.lines().enumerate().filter(|(_, line)| *line == "[[rule]]").map(|(at, _)| at + 1).collect();
    problems.iter().map(|problem| starts.iter().position(|at| *at == line_of(problem)).unwrap()).collect()
}

#[test]
fn rules_are_shown_a_line_each_in_the_order_they_are_asked() {
    let text = r#"
        [[rule]]
        path = "/public/"
        methods = ["GET", "HEAD"]
        allow = "anyone"
        [[rule]]
        path = "=/Status"
        allow = "signed-in"
        [[rule]]
        path = "/admin"
        allow = { users = ["alice", "bob"], groups = ["staff"] }
        [[rule]]
        methods = ["DELETE"]
        allow = "nobody"
    "#;
    let lines =
        "/public GET HEAD: anyone\n=/Status: signed-in\n/admin: users alice, bob; groups staff\n/ DELETE: nobody";
    assert_eq!(good(text).to_string(), format!("{lines}\notherwise: signed-in"));
}

#[test]
fn without_rules_any_signed_in_user_may_pass() {
    let rules = good("");
    assert_eq!(rules, Rules::default());
    assert_eq!(rules.to_string(), "otherwise: signed-in");
    assert_eq!(rules.first_match("/", "GET"), None);
    assert_eq!(rules.allow("/", "GET"), &Allow::SignedIn);
}

#[test]
fn the_first_match_decides() {
    let text = r#"rule = [
        { path = "=/a", allow = "nobody" },
        { path = "/a", methods = ["GET"], allow = "anyone" },
        { path = "/a/b", allow = "signed-in" },
        { path = "/caf\u00e9 1", allow = "nobody" },
    ]"#;
    let rules = good(text);
    for (path, method, rule) in [
        ("/a", "GET", Some(0)),
        ("/a/", "GET", Some(1)),
        ("/a/b", "GET", Some(1)),
        ("/a/b", "HEAD", Some(2)),
        ("/a/b", "get", Some(2)),
        ("/a/", "POST", None),
        ("/ab", "GET", None),
        ("/A", "GET", None),
        ("/café 1/x", "GET", Some(3)),
    ] {
        let found = rules.first_match(path, method);
        assert_eq!(found, rule.map(|at: usize| &rules.rules[at]), "{method} {path}");
    }
}

#[test]
fn an_app_that_is_blind_to_case_has_rules_that_are() {
    let rules = good("case_blind = true\nrule = [{ path = \"=/ÉTÉ/Admin\", allow = \"nobody\" }]");
    for path in ["/ÉTÉ/Admin", "/été/ADMIN"] {
        assert!(rules.first_match(path, "GET").is_some(), "{path}");
    }
    assert!(rules.first_match("/été/admin/", "GET").is_none());
}

#[test]
fn escaped_slashes_are_judged_unless_told_otherwise() {
    assert_eq!(good("").encoded_slash, EncodedSlash::Judge);
    assert_eq!(good("encoded_slash = \"judge\"").encoded_slash, EncodedSlash::Judge);
    assert_eq!(good("encoded_slash = \"reject\"").encoded_slash, EncodedSlash::Reject);
}

#[test]
fn whatever_cannot_mean_what_it_says_is_a_problem() {
    for (rule, message, hint) in [
        (r#"path = "a", allow = "anyone""#, "`path` = \"a\" does not begin with a slash", "write \"/a\""),
        (r#"path = "", allow = "anyone""#, "does not begin with a slash", "write \"/\""),
        (r#"path = "=a", allow = "anyone""#, "`path` = \"=a\" does not begin", "\"=/a\""),
        (r#"path = "/a%20b", allow = "anyone""#, "has a %", "decoded"),
        (r#"path = "/a/*", allow = "anyone""#, "has a *", "\"/public\""),
        (r#"path = "/a?b", allow = "anyone""#, "has a ? or #", "query"),
        (r#"path = "/a//b", allow = "anyone""#, "two slashes", "\"/a/b\""),
        (r#"path = "/a/../b", allow = "anyone""#, "dot segment", "where it leads"),
        (r#"path = "=/.", allow = "anyone""#, "dot segment", "where it leads"),
        (r#"path = "/a;b", allow = "anyone""#, "has a ; or", "without"),
        (r#"path = '/a\b', allow = "anyone""#, "has a ; or \\", "without"),
        (r#"path = "/a\tb", allow = "anyone""#, "control character", "without"),
        (r#"path = 1, allow = "anyone""#, "`path` takes a string", ""),
        (r#"methods = ["get"], allow = "anyone""#, "\"get\" is not a method", "did you mean \"GET\"?"),
        (r#"methods = ["GET POST"], allow = "anyone""#, "\"GET POST\" is not a method", ""),
        (r#"methods = [""], allow = "anyone""#, "\"\" is not a method", ""),
        (r#"methods = [], allow = "anyone""#, "`methods` is empty", "leave `methods` away"),
        (r#"methods = "GET", allow = "anyone""#, "`methods` takes a list of strings", ""),
        (r#"path = "/""#, "`allow` is missing in [rule]", "add allow = \"anyone\""),
        (r#"allow = "everyone""#, "`allow` = \"everyone\" is none of its words", "\"signed-in\""),
        (r#"allow = ["alice"]"#, "`allow` takes a string or a table", ""),
        (r#"allow = {}"#, "names neither users nor groups", "\"nobody\""),
        (r#"allow = { users = [], groups = [] }"#, "names neither users nor groups", "\"nobody\""),
        (r#"allow = { users = ["a,b"] }"#, "the name \"a,b\" in `users` has a character", ""),
        (r#"allow = { groups = [""] }"#, "the name \"\" in `groups` is empty", ""),
        (r#"allow = { groups = "staff" }"#, "`groups` takes a list of strings", ""),
        (r#"allow = { user = ["a"], groups = ["b"] }"#, "no key `user`", "did you mean `users`?"),
        (r#"allow = "anyone", paths = "/a""#, "no key `paths` in [rule]", "did you mean `path`?"),
    ] {
        let (_, problems) = read(&format!("rule = [{{ {rule} }}]"));
        assert_eq!(problems.len(), 1, "{rule}\n{problems:?}");
        assert!(problems[0].contains(message) && problems[0].contains(hint), "{rule}\n{}", problems[0]);
    }
}

#[test]
fn a_rule_that_is_half_wrong_decides_nothing() {
    for rule in [r#"path = "a", allow = "anyone""#, r#"methods = 1, allow = "anyone""#, r#"allow = { users = 1 }"#] {
        assert!(read(&format!("rule = [{{ {rule} }}]")).0.rules.is_empty(), "{rule}");
    }
}

#[test]
fn a_misspelled_allow_is_missing_and_told_what_was_meant() {
    let (_, problems) = read("rule = [{ alow = \"anyone\" }]");
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().any(|problem| problem.contains("did you mean `allow`?")));
}

#[test]
fn a_rule_that_can_never_decide_is_a_problem_and_no_other_is() {
    for (rules, never) in [
        (&["/a", "/a"][..], &[1][..]),
        (&["/a", "/a/b", "=/a", "/ab", "/"], &[1, 2]),
        (&["/", "/a", "=/"], &[1, 2]),
        (&["/a/b", "/a"], &[]),
        (&["=/a", "/a"], &[]),
        (&["=/a", "=/a/", "=/a"], &[2]),
        (&["/a/", "=/a", "/a"], &[1, 2]),
        (&["/a GET", "/a"], &[]),
        (&["/a", "/a GET"], &[1]),
        (&["/a GET POST", "/a/b GET", "/a HEAD GET"], &[1]),
        // Two rules together may leave nothing for a third.
        (&["/ GET", "/a POST", "/a/b GET POST"], &[2]),
        (&["/ GET", "/b POST", "/a/b GET POST"], &[]),
        (&["=/a", "/a/b", "/a"], &[]),
    ] {
        assert_eq!(shadowed(rules, ""), never, "{rules:?}");
    }
    assert!(shadowed(&["/a", "/A"], "").is_empty());
    assert_eq!(shadowed(&["/a", "/A"], "case_blind = true"), [1]);
}

#[test]
fn a_rule_that_never_decides_is_told_which_do() {
    let (_, problems) =
        read("[[rule]]\npath = \"/a\"\nallow = \"anyone\"\n[[rule]]\npath = \"/a/b\"\nallow = \"nobody\"\n");
    assert_eq!(problems.len(), 1);
    for wanted in ["v.toml:4:1: this rule (/a/b: nobody) never decides", "is decided before, by: /a: anyone"] {
        assert!(problems[0].contains(wanted), "{}", problems[0]);
    }
}
