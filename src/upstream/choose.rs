//! Which of an app's servers gets a request: a pure function of what is known about them.

use std::time::Duration;

/// How requests are spread over the servers of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// To the server with the fewest requests under way.
    LeastRequests,
    /// To the server that the browser's cookie names; in turn without one.
    Cookie,
}

/// Whether a server can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As far as we know.
    Well,
    /// It took no connection, and is left alone for so much longer.
    Rests(Duration),
    /// Its health check fails; the next one is due within this time.
    Sick(Duration),
}

/// What is known about one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) under_way: usize,
    pub(super) standing: Standing,
}

/// Whom to ask.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// These, in this order, until one takes a connection.
    Ask(Vec<usize>),
    /// Nobody is well. One request at a time may try `probe`, so that an app that is back is found at once; the others
    /// should come again later.
    Nobody { probe: Option<usize>, retry_after: Duration },
}

/// Puts the servers that are well into the order of asking. `turn` goes up by one with each request.
pub(super) fn choose(balance: Balance, turn: usize, sticky: Option<usize>, servers: &[Server]) -> Choice {
    let count = servers.len();
    let in_turn = (0..count).map(|step| (turn % count + step) % count);
    let mut order: Vec<_> = in_turn.filter(|at| servers[*at].standing == Standing::Well).collect();
    if order.is_empty() {
        return nobody(servers);
    }
    match balance {
        Balance::RoundRobin => {}
        // Stable: those that are equal keep their turn.
        Balance::LeastRequests => order.sort_by_key(|at| servers[*at].under_way),
        Balance::Cookie => order.sort_by_key(|at| Some(*at) != sticky),
    }
    Choice::Ask(order)
}

fn nobody(servers: &[Server]) -> Choice {
    let wait = |server: &Server| match server.standing {
        Standing::Well => Duration::ZERO,
        Standing::Rests(left) | Standing::Sick(left) => left,
    };
    let rests = |at: &usize| matches!(servers[*at].standing, Standing::Rests(_));
    let probe = (0..servers.len()).filter(rests).min_by_key(|at| wait(&servers[*at]));
    Choice::Nobody { probe, retry_after: servers.iter().map(wait).min().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::Standing::{Rests, Sick, Well};
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn servers(all: &[(usize, Standing)]) -> Vec<Server> {
        all.iter().map(|(under_way, standing)| Server { under_way: *under_way, standing: *standing }).collect()
    }

    #[test]
    fn servers_that_are_well_are_asked_in_the_order_of_the_balance() {
        let down = Rests(seconds(1));
        for (balance, turn, sticky, all, expected) in [
            (Balance::RoundRobin, 0, None, &[(0, Well), (0, Well), (0, Well)][..], &[0, 1, 2][..]),
            (Balance::RoundRobin, 1, Some(0), &[(0, Well), (0, Well), (0, Well)], &[1, 2, 0]),
            (Balance::RoundRobin, 5, None, &[(9, Well), (0, Well), (0, Well)], &[2, 0, 1]),
            (Balance::RoundRobin, usize::MAX, None, &[(0, Well), (0, Well)], &[1, 0]),
            (Balance::RoundRobin, 0, None, &[(0, down), (0, Well), (0, Sick(seconds(9)))], &[1]),
            (Balance::LeastRequests, 0, None, &[(3, Well), (1, Well), (2, Well)], &[1, 2, 0]),
            (Balance::LeastRequests, 2, None, &[(1, Well), (1, Well), (1, Well)], &[2, 0, 1]),
            (Balance::LeastRequests, 0, Some(0), &[(3, Well), (0, down), (2, Well)], &[2, 0]),
            (Balance::Cookie, 0, Some(2), &[(0, Well), (0, Well), (9, Well)], &[2, 0, 1]),
            (Balance::Cookie, 1, Some(2), &[(0, Well), (0, Well), (0, down)], &[1, 0]),
            (Balance::Cookie, 1, None, &[(0, Well), (0, Well), (0, Well)], &[1, 2, 0]),
        ] {
            let choice = choose(balance, turn, sticky, &servers(all));
            assert_eq!(choice, Choice::Ask(expected.to_vec()), "{balance:?} {turn} {sticky:?} {all:?}");
        }
    }

    #[test]
    fn when_nobody_is_well_the_one_that_rests_least_may_be_tried() {
        for (all, probe, wait) in [
            (&[(0, Rests(seconds(8))), (0, Rests(seconds(2)))][..], Some(1), 2),
            (&[(0, Rests(seconds(8))), (0, Sick(seconds(2)))], Some(0), 2),
            (&[(0, Sick(seconds(9))), (0, Sick(seconds(3)))], None, 3),
            (&[], None, 0),
        ] {
            let choice = choose(Balance::RoundRobin, 0, None, &servers(all));
            assert_eq!(choice, Choice::Nobody { probe, retry_after: seconds(wait) }, "{all:?}");
        }
    }
}
