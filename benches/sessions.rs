//! What sessions cost: looking one up, beginning one, keeping one, and many falling due at once.
//!
//! `cargo bench --bench sessions` prints a Markdown table; `-- 1000 100000` names other numbers of sessions. The figures
//! are of this machine and this moment: compare them with each other.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark measures real time and prints it")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vestibule::clock::Moment;
use vestibule::identity::{AuthMethod, Identity};
use vestibule::names::{Group, UserName};
use vestibule::session::{Limits, Resumed, SessionSettings, SessionToken, Sessions, Touch};
use vestibule::web::host::Host;

const START: Moment = Moment::from_unix_millis(1_800_000_000_000);
const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 3;

fn main() {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 10_000, 100_000, 1_000_000] } else { asked };
    println!(
        "| sessions | sign-in ns | bytes each | resume ns, 1 thread | resume ns, 2 threads | worst resume ms while all fall due | sweep ns each |"
    );
    println!("|---|---|---|---|---|---|---|");
    for size in sizes {
        measure(size);
    }
}

fn measure(size: usize) {
    let settings = SessionSettings { max_sessions: 20_000_000, ..SessionSettings::default() };
    let limits = settings.limits;
    let host = Host::parse("wiki.example.com").expect("a host");
    // Names are shared by the sessions of a user, as after a sign-in with the users file.
    let people: Vec<_> = (0..size.div_ceil(4)).map(person).collect();
    let mut tokens = Vec::with_capacity(size);
    let before = resident();
    let sessions = Sessions::new(&settings);
    let began = Instant::now();
    for number in 0..size {
        tokens.push(sessions.open(people[number / 4].clone(), &host, START).0);
    }
    let sign_in = began.elapsed().as_nanos() / size as u128;
    // Tokens are ours, not the gate's: what they take is counted out.
    let bytes =
        (resident() - before).saturating_sub((tokens.capacity() * size_of::<SessionToken>()) as u64) / size as u64;

    let one = resume(&sessions, &tokens, &host, &limits, 1);
    let two = resume(&sessions, &tokens, &host, &limits, 2);
    let (worst, sweep) = fall_due(&sessions, &tokens, &host, &limits);
    println!("| {size} | {sign_in} | {bytes} | {one} | {two} | {worst:.2} | {sweep} |");
}

fn person(number: usize) -> Identity {
    Identity {
        user: UserName::parse(&format!("user{number}")).expect("a name"),
        name: Some(format!("User Number {number}").into()),
        email: Some(format!("user{number}@example.com").into()),
        groups: ["staff", "wiki", "everybody"].map(|group| Group::parse(group).expect("a group")).into(),
        method: AuthMethod::Password,
        authenticated_at: START,
    }
}

/// Nanoseconds for one look-up with uniformly random tokens: median (lowest to highest) of the rounds.
fn resume(sessions: &Sessions, tokens: &[SessionToken], host: &Host, limits: &Limits, threads: u64) -> String {
    let mut rounds: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let done = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for seed in 0..threads {
                    let done = &done;
                    scope.spawn(move || {
                        let (mut state, mut count, began) = (seed * 7919 + 1, 0, Instant::now());
                        while began.elapsed() < ROUND {
                            for _ in 0..64 {
                                let token = &tokens[random(&mut state) % tokens.len()];
                                let found = sessions.resume(token, host, limits, Touch::Activity, START);
                                assert!(matches!(found, Resumed::Live(_)));
                            }
                            count += 64;
                        }
                        done.fetch_add(count, Ordering::Relaxed);
                    });
                }
            });
            // Time that each thread spends on one look-up.
            u64::try_from(ROUND.as_nanos()).unwrap_or(u64::MAX) * threads / done.into_inner().max(1)
        })
        .collect();
    rounds.sort_unstable();
    format!("{} ({}–{})", rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1])
}

/// Everything but one busy session falls due; the sweep takes it out while that one is looked up. Milliseconds of the
/// worst look-up, and nanoseconds of the sweep for each session.
fn fall_due(sessions: &Sessions, tokens: &[SessionToken], host: &Host, limits: &Limits) -> (f64, u128) {
    let (busy, others) = (&tokens[0], tokens.len() as u128 - 1);
    let later = START.plus(Duration::from_secs(20 * 60));
    sessions.resume(busy, host, limits, Touch::Activity, later);
    let due = START.plus(Duration::from_secs(31 * 60));
    let swept = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut worst = Duration::ZERO;
            while !swept.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert!(matches!(sessions.resume(busy, host, limits, Touch::Background, due), Resumed::Live(_)));
                worst = worst.max(began.elapsed());
            }
            worst
        });
        let began = Instant::now();
        while sessions.sweep(due, 1_000) {
            std::thread::yield_now();
        }
        let sweep = began.elapsed().as_nanos() / others.max(1);
        swept.store(true, Ordering::Relaxed);
        let worst = looking.join().expect("the other thread does not panic");
        assert_eq!(sessions.count(), 1);
        (worst.as_secs_f64() * 1000.0, sweep)
    })
}

/// xorshift64*: even enough to visit sessions in no order.
fn random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    usize::try_from(state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap_or_default()
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}
