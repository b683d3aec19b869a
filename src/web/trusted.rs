//! Which peers may speak for their clients, and who the client is then.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The networks of proxies in front of us whose `X-Forwarded-For` is believed. Empty unless configured.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this address speaks for others.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// The client behind a trusted peer: the last address of `X-Forwarded-For` that is not itself a trusted proxy.
    /// An entry that is no address ends the search: nobody we trust vouches for what stands before it.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        let mut client = peer;
        for line in lines.iter().rev() {
            for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
                let Some(address) = std::str::from_utf8(entry).ok().and_then(read_address) else {
                    return client;
                };
                client = address;
                if !self.contains(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// An address, with or without brackets and a port.
fn read_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        for (lines, client) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7, 10.0.0.9"], "203.0.113.7"),
            (&["1.1.1.1", "203.0.113.7, 10.1.1.1"], "203.0.113.7"),
            (&["10.0.0.3"], "10.0.0.3"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["1.1.1.1, nonsense, 10.0.0.9"], "10.0.0.9"),
            (&["\"1.1.1.1\""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            let headers =
                lines.iter().map(|line| (http::HeaderName::from_static("x-forwarded-for"), line.parse().unwrap()));
            let found = trusted.client("10.0.0.1".parse().unwrap(), &headers.collect());
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{lines:?}");
        }
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
        let v4 = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(v4.contains("::ffff:127.0.0.1".parse().unwrap()), "an IPv4 address in IPv6 clothes");
    }
}
