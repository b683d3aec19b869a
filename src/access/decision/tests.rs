//! Decisions for every kind of visitor, and that more ways to understand a request never make one laxer.

use proptest::prelude::*;

use crate::clock::Moment;
use crate::identity::AuthMethod;
use crate::names::{Group, UserName};
use crate::problems::Source;
use crate::section::TomlFile;

use super::*;

impl Proof for Identity {
    fn identity(&self) -> &Identity {
        self
    }
}

fn rules(text: &str) -> Rules {
    let source = Source::new("v.toml", text.into());
    let file = TomlFile::parse(&source);
    let rules = Rules::read(&file.root());
    let problems = file.into_problems();
    assert!(problems.is_empty(), "{problems}");
    rules
}

fn sample() -> Rules {
    rules(
        r#"rule = [
            { path = "/open/shut", allow = "nobody" },
            { path = "/open", allow = "anyone" },
            { path = "/staff", allow = { groups = ["staff"] } },
            { path = "/bob", allow = { users = ["bob"], groups = ["staff"] } },
            { path = "/shut", allow = "nobody" },
            { path = "/form", methods = ["GET"], allow = "anyone" },
            { path = "/form", methods = ["DELETE"], allow = "nobody" },
        ]"#,
    )
}

fn signed_in(user: &str, groups: &[&str]) -> Identity {
    Identity {
        user: UserName::parse(user).unwrap(),
        name: None,
        email: None,
        groups: groups.iter().map(|group| Group::parse(group).unwrap()).collect(),
        method: AuthMethod::Password,
        authenticated_at: Moment::from_unix_millis(0),
    }
}

/// The decision in a word.
fn said(rules: &Rules, readings: &[&str], methods: &[&str], visitor: Option<&Identity>) -> &'static str {
    let asked = readings.iter().map(|reading| (rules, *reading));
    match decide(&AppName::parse("wiki").unwrap(), asked, methods, visitor.cloned()) {
        Decision::Forward(pass) => {
            assert_eq!(pass.app().as_str(), "wiki");
            assert_eq!((pass.session(), pass.identity()), (visitor, visitor), "nobody is forwarded as somebody else");
            "forward"
        }
        Decision::SignIn => "sign in",
        Decision::Refuse => "refuse",
    }
}

#[test]
fn each_visitor_gets_what_the_first_matching_rule_says() {
    let (rules, alice, bob) = (sample(), signed_in("alice", &["staff", "x"]), signed_in("bob", &[]));
    for (path, nobody, as_bob, as_alice) in [
        ("/open", "forward", "forward", "forward"),
        ("/open/shut", "refuse", "refuse", "refuse"),
        ("/staff/x", "sign in", "refuse", "forward"),
        ("/bob", "sign in", "forward", "forward"),
        ("/shut", "refuse", "refuse", "refuse"),
        ("/elsewhere", "sign in", "forward", "forward"),
        ("/", "sign in", "forward", "forward"),
        ("/Shut", "sign in", "forward", "forward"),
    ] {
        let answers = [None, Some(&bob), Some(&alice)].map(|visitor| said(&rules, &[path], &["GET"], visitor));
        assert_eq!(answers, [nobody, as_bob, as_alice], "{path}");
    }
}

#[test]
fn a_group_is_no_user_of_the_same_name() {
    let rules = rules(r#"rule = [{ path = "/", allow = { users = ["root"] } }]"#);
    assert_eq!(said(&rules, &["/"], &["GET"], Some(&signed_in("bob", &["root"]))), "refuse");
    assert_eq!(said(&rules, &["/"], &["GET"], Some(&signed_in("Root", &[]))), "refuse");
    assert_eq!(said(&rules, &["/"], &["GET"], Some(&signed_in("root", &[]))), "forward");
}

#[test]
fn the_strictest_of_all_readings_and_methods_wins() {
    let (rules, bob) = (sample(), signed_in("bob", &[]));
    for (readings, methods, nobody, as_bob) in [
        (&["/open/x", "/open"][..], &["GET"][..], "forward", "forward"),
        (&["/open", "/elsewhere"], &["GET"], "sign in", "forward"),
        (&["/open", "/staff"], &["GET"], "sign in", "refuse"),
        (&["/elsewhere", "/shut"], &["GET"], "refuse", "refuse"),
        (&["/shut", "/open"], &["GET"], "refuse", "refuse"),
        (&["/form"], &["GET"], "forward", "forward"),
        (&["/form"], &["HEAD"], "sign in", "forward"),
        (&["/form"], &["POST"], "sign in", "forward"),
        (&["/form"], &["POST", "DELETE"], "refuse", "refuse"),
        (&["/form"], &["GET", "PATCH"], "sign in", "forward"),
        // To some apps a method in small letters is the same method.
        (&["/form"], &["delete"], "refuse", "refuse"),
        (&["/form"], &["get"], "sign in", "forward"),
    ] {
        assert_eq!(said(&rules, readings, methods, None), nobody, "{methods:?} {readings:?}");
        assert_eq!(said(&rules, readings, methods, Some(&bob)), as_bob, "{methods:?} {readings:?}");
    }
}

#[test]
fn readings_that_belong_to_different_apps_are_asked_of_each() {
    let (open, shut) = (rules(r#"rule = [{ allow = "anyone" }]"#), rules(r#"rule = [{ allow = "nobody" }]"#));
    let app = AppName::parse("wiki").unwrap();
    let ask = |asked: &[(&Rules, &str)]| decide(&app, asked.iter().copied(), &["GET"], None::<Identity>);
    assert!(matches!(ask(&[(&open, "/a")]), Decision::Forward(_)));
    assert!(matches!(ask(&[(&open, "/a"), (&shut, "/b")]), Decision::Refuse));
}

#[test]
fn a_request_that_no_rule_was_asked_about_is_refused() {
    let rules = rules(r#"rule = [{ allow = "anyone" }]"#);
    assert_eq!(said(&rules, &[], &["GET"], None), "refuse");
    assert_eq!(said(&rules, &["/"], &[], Some(&signed_in("bob", &[]))), "refuse");
}

fn some_of(words: &'static [&'static str], count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(words), count)
}

const PATHS: &[&str] =
    &["/", "/open", "/open/shut", "/staff", "/bob", "/shut", "/form", "/elsewhere", "/Open", "/OPEN/Shut/x"];
const METHODS: &[&str] = &["GET", "HEAD", "POST", "DELETE", "delete", "get", "M-SEARCH"];

proptest! {
    #[test]
    fn another_reading_or_method_never_makes_a_decision_laxer(
        readings in some_of(PATHS, 1..5),
        methods in some_of(METHODS, 1..4),
        more_readings in some_of(PATHS, 0..3),
        more_methods in some_of(METHODS, 0..3),
        visitor in proptest::sample::select(vec![None, Some(("bob", "x")), Some(("alice", "staff"))]),
        blind in any::<bool>(),
    ) {
        let rules = if blind { rules("case_blind = true\nrule = [{ path = \"/OPEN/shut\", allow = \"nobody\" }, { path = \"/Open\", allow = \"anyone\" }]") } else { sample() };
        let visitor = visitor.map(|(user, group)| signed_in(user, &[group]));
        let strictness = |word| ["forward", "sign in", "refuse"].iter().position(|known| *known == word).unwrap();
        let before = said(&rules, &readings, &methods, visitor.as_ref());
        let readings: Vec<_> = more_readings.into_iter().chain(readings).collect();
        let methods: Vec<_> = methods.into_iter().chain(more_methods).collect();
        let after = said(&rules, &readings, &methods, visitor.as_ref());
        prop_assert!(strictness(after) >= strictness(before), "{} then {}", before, after);
    }
}
