//! Tables of honest and hostile paths, and readings against independent, naive programs.

use proptest::prelude::*;

use super::*;

fn readings(raw: &str) -> Vec<String> {
    let path = CleanPath::parse(raw).unwrap_or_else(|problem| panic!("{raw}: {problem}"));
    assert_eq!(path.raw(), raw);
    path.readings().map(str::to_owned).collect()
}

#[test]
fn an_ordinary_path_is_its_own_only_reading() {
    for raw in ["/", "/a", "/a/", "/a.b/c..d/...", "/.well-known/x", "/a|b[c]^'d", "/@scope:name,(x)!*$&+=~-_"] {
        assert_eq!(readings(raw), [raw]);
        let target: PathAndQuery = format!("{raw}?q=1").parse().unwrap();
        let path = CleanPath::of(&target).unwrap();
        assert!(path.readings.is_empty());
        assert_eq!(path.raw(), raw);
    }
}

#[test]
fn a_path_is_read_in_every_plausible_way() {
    for (raw, wanted) in [
        ("/a%20b", &["/a b"][..]),
        ("/%61dmin", &["/admin"]),
        ("/caf%C3%A9", &["/café"]),
        ("/caf%e9", &["/caf%E9", "/café"]),
        ("/100%25", &["/100%"]),
        ("/a%25zz", &["/a%zz"]),
        ("/a//b", &["/a//b", "/a/b"]),
        ("//a", &["//a", "/a"]),
        ("/a%2Fb", &["/a%2Fb", "/a/b"]),
        ("/a%252fb", &["/a%2fb", "/a/b"]),
        ("/a;x=1/b", &["/a;x=1/b", "/a/b"]),
        ("/a%3Bx/b", &["/a;x/b", "/a/b"]),
        ("/%2561dmin", &["/%61dmin", "/admin"]),
        ("/what%3F", &["/what?", "/what"]),
        ("/a%23b", &["/a#b", "/a"]),
    ] {
        assert_eq!(readings(raw), wanted, "{raw}");
    }
    for (raw, wanted) in [
        // Looking for parameters before decoding, or after.
        ("/x%3By;z/b", "/x;y/b"),
        ("/x%3By;z/b", "/x/b"),
        // One slash escaped once and the other twice.
        ("/a%252F%2Fb", "/a%2F/b"),
        ("/a;p%2Fb%3Bc/d", "/a/b;c/d"),
        ("/%25252561", "/a"),
        ("/public;/%2Fadmin", "/public/admin"),
    ] {
        assert!(readings(raw).iter().any(|reading| reading == wanted), "{raw} {wanted}");
    }
}

#[test]
fn what_no_honest_client_sends_is_refused() {
    use PathProblem::*;
    for (raw, problem) in [
        ("", NotAbsolute),
        ("a", NotAbsolute),
        ("*", NotAbsolute),
        ("%2Fa", NotAbsolute),
        ("/a\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/a%255Cb", Backslash),
        ("/a/../b", DotSegment),
        ("/.", DotSegment),
        ("/./a", DotSegment),
        ("/a/..", DotSegment),
        ("/%2e%2E/a", DotSegment),
        ("/.%2e/a", DotSegment),
        ("/%252e%252e/a", DotSegment),
        ("/..;/a", DotSegment),
        ("/..;x=y", DotSegment),
        ("/%2e%2e%3Bx/a", DotSegment),
        ("/a%2F..%2Fb", DotSegment),
        ("/a%252F..%252Fb", DotSegment),
        ("/a/..%3Fb", DotSegment),
        ("/..%23", DotSegment),
        ("//..//", DotSegment),
        ("/a\0", Control),
        ("/a\t", Control),
        ("/a\r\nb", Control),
        ("/a\x7f", Control),
        ("/%00", Control),
        ("/%0d%0A", Control),
        ("/%7F", Control),
        ("/%2500", Control),
        ("/%25250a", Control),
        ("/%", BadEscape),
        ("/%4", BadEscape),
        ("/%zz", BadEscape),
        ("/%u002e", BadEscape),
        ("/%%34%31", BadEscape),
        ("/%+1", BadEscape),
        ("/%C0%AE", Overlong),
        ("/%c1%9c", Overlong),
        ("/%c0%2f", Overlong),
        ("/%e0%80%ae", Overlong),
        ("/%E0%9F%BF", Overlong),
        ("/%f0%80%80%ae", Overlong),
        ("/%F8%80%80%80%AE", Overlong),
        ("/%25C0%25AE", Overlong),
        ("/%E0%2580%25AE", Overlong),
        ("/a b", BadByte),
        ("/\"", BadByte),
        ("/<", BadByte),
        ("/>", BadByte),
        ("/`", BadByte),
        ("/{", BadByte),
        ("/}", BadByte),
        ("/a#b", BadByte),
        ("/a?b", BadByte),
        ("/é", BadByte),
        ("/%252525252525", TooDeep),
        ("/a%2525252541", TooDeep),
    ] {
        assert_eq!(CleanPath::parse(raw).err(), Some(problem), "{raw:?}");
    }
    assert_eq!(CleanPath::parse(&format!("/{}", "a".repeat(70_000))).err(), Some(PathProblem::TooLong));
}

#[test]
fn more_readings_than_anybody_needs_are_refused() {
    let raw = "/a;b//c%2Fd%3Fe%3Bf%252F%252Fg%25253Bh/%252541";
    assert_eq!(CleanPath::parse(raw).err(), Some(PathProblem::TooManyReadings));
    let long = "/a;b//c%2Fd".repeat(1000);
    assert_eq!(CleanPath::parse(&long).err(), Some(PathProblem::TooManyReadings));
    assert_eq!(readings(&"/a%2Fb%20".repeat(1700)).len(), 2);
}

#[test]
fn addresses_that_people_use_stay_far_from_the_limits() {
    for (raw, most) in [
        ("/web/2020/https://example.com/a;b//c", 4),
        ("/proxy/https%3A%2F%2Fexample.com%2Fa%3Fb%3Dc%2526d", 16),
        ("/wiki/C%23_%26_%22%C3%A9%22%3F", 4),
        ("/api/v4/projects/group%2Fsub%2Fname/repository/files/src%2Fmain%2Ers", 2),
        ("/app;jsessionid=0123/page.do", 2),
        ("/s/%E6%97%A5%E6%9C%AC%E8%AA%9E", 1),
    ] {
        let count = readings(raw).len();
        assert!(count <= most, "{raw}: {count}");
    }
}

#[test]
fn an_escaped_slash_is_seen_however_often_it_is_escaped() {
    for (raw, has) in [
        ("/a/b", false),
        ("/a%20b;c//", false),
        ("/a%2Fb", true),
        ("/a%2fb", true),
        ("/a%252fb", true),
        ("/a%25252Fb", true),
        ("/a;x%2Fy/b", true),
        ("/a%252zb", false),
    ] {
        assert_eq!(CleanPath::parse(raw).unwrap().has_encoded_slash(), has, "{raw}");
    }
}

#[test]
fn a_prefix_ends_where_a_segment_ends() {
    for (reading, prefix, under) in [
        ("/public", "/public", true),
        ("/public/", "/public", true),
        ("/public/x", "/public", true),
        ("/publicity", "/public", false),
        ("/publi", "/public", false),
        ("/public", "/public/", true),
        ("/public/x", "/public/", true),
        ("/", "/", true),
        ("/x", "/", true),
        ("//x", "/", true),
        ("/x/public", "/public", false),
    ] {
        assert_eq!(is_under(reading, prefix), under, "{reading} {prefix}");
    }
}

#[test]
fn letters_of_either_case_fold_to_one() {
    for (text, folded) in [("/a-1", "/a-1"), ("/Admin", "/admin"), ("/ÉTÉ", "/été"), ("/ΟΔΟΣ", "/οδοσ"), ("/日", "/日")]
    {
        assert_eq!(fold(text), folded);
    }
    assert!(matches!(fold("/plain"), Cow::Borrowed(_)));
}

/// Paths of the pieces that programs disagree about.
fn tricky_paths() -> impl Strategy<Value = String> {
    let pieces = [
        "/", "/", "/", "a", "b", ";", ";x", ".", "..", "%2F", "%2f", "%252F", "%25", "%2e", "%252e", "%3B", "%253b",
        "%41", "%2541", "%c3%a9", "%e9", "%C3%25A9", "%5c", "%00", "%20", "%3F", "%zz", "%25zz", "%e0%80", "\\", "é",
        "?",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..9)
        .prop_map(|all| format!("/{}", all.concat()))
}

mod naive {
    //! Programs as they may stand behind us, written to be plain and not to share our code.

    pub(super) fn decode(path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < path.len() {
            let digits = path.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
            let byte = digits
                .filter(|two| two.chars().all(|c| c.is_ascii_hexdigit()))
                .and_then(|two| u8::from_str_radix(two, 16).ok());
            match byte {
                Some(byte) if path[at] == b'%' => {
                    out.push(byte);
                    at += 3;
                }
                _ => {
                    out.push(path[at]);
                    at += 1;
                }
            }
        }
        out
    }

    pub(super) fn merge(path: &[u8]) -> Vec<u8> {
        let mut out = path.to_vec();
        out.dedup_by(|next, before| *next == b'/' && *before == b'/');
        out
    }

    pub(super) fn strip(path: &[u8]) -> Vec<u8> {
        let mut inside = false;
        let mut out = Vec::new();
        for &byte in path {
            inside = (inside || byte == b';') && byte != b'/';
            if !inside {
                out.push(byte);
            }
        }
        out
    }

    pub(super) fn show(path: &[u8]) -> String {
        match std::str::from_utf8(path) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let (good, bad) = path.split_at(error.valid_up_to());
                format!("{}%{:02X}{}", show(good), bad[0], show(&bad[1..]))
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(raw in "\\PC*", tail in "(/|%|[0-9a-f]|;|\\.){0,40}") {
        let _ = CleanPath::parse(&raw);
        let _ = CleanPath::parse(&format!("/{tail}"));
        let _ = CleanPath::parse(&format!("/{raw}"));
    }

    #[test]
    fn no_reading_has_what_is_refused(raw in tricky_paths()) {
        if let Ok(path) = CleanPath::parse(&raw) {
            let readings: Vec<_> = path.readings().collect();
            prop_assert!((1..=32).contains(&readings.len()));
            for (at, reading) in readings.iter().enumerate() {
                prop_assert!(reading.starts_with('/'));
                prop_assert!(!reading.contains('\\') && !reading.contains(|c: char| c.is_ascii_control()));
                prop_assert!(!reading.split('/').any(|segment| segment == "." || segment == ".."));
                prop_assert!(!readings[..at].contains(reading));
            }
        }
    }

    #[test]
    fn what_other_programs_read_is_among_the_readings(raw in tricky_paths()) {
        let Ok(path) = CleanPath::parse(&raw) else { return Ok(()) };
        let bytes = raw.as_bytes();
        let once = naive::decode(bytes);
        for (program, read) in [
            ("plain", once.clone()),
            ("nginx", naive::merge(&once)),
            ("servlets", naive::merge(&naive::decode(&naive::strip(bytes)))),
            ("strips late", naive::strip(&once)),
            ("strips twice", naive::strip(&naive::decode(&naive::strip(bytes)))),
            ("decodes twice", naive::decode(&once)),
            ("decodes twice and merges", naive::merge(&naive::decode(&naive::merge(&once)))),
            ("decodes thrice", naive::decode(&naive::decode(&once))),
            ("servlets behind nginx", naive::merge(&naive::decode(&naive::strip(&naive::merge(&once))))),
        ] {
            let read = naive::show(&read);
            prop_assert!(path.readings().any(|reading| reading == read), "{program}: {read}");
        }
    }

    #[test]
    fn a_path_of_dot_segments_in_any_program_is_refused(raw in tricky_paths()) {
        let bytes = raw.as_bytes();
        let once = naive::decode(bytes);
        let readings = [once.clone(), naive::decode(&once), naive::decode(&naive::strip(bytes)), naive::strip(&once)];
        if readings.iter().any(|read| read.split(|byte| *byte == b'/').any(|name| name == b"." || name == b"..")) {
            prop_assert!(CleanPath::parse(&raw).is_err());
        }
    }
}
