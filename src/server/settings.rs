//! The `[listen]` and `[limits]` sections.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::problems::Problem;
use crate::section::Section;
use crate::web::arrival::ArrivalLimits;

/// Where we listen, and whom we believe.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Addresses that speak TLS.
    pub https: Vec<SocketAddr>,
    /// Addresses that redirect to them.
    pub http: Vec<SocketAddr>,
    /// The port that browsers use for `https`.
    pub https_port: u16,
    /// Networks of proxies that speak for their clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether their connections, and there are no others then, begin with a PROXY header.
    pub proxy_protocol: bool,
    /// The number of worker threads.
    pub threads: usize,
}

impl ListenSettings {
    /// Reads the section.
    pub fn read(section: Option<&Section<'_>>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let default = SocketAddr::from(([127, 0, 0, 1], 8443));
        let Some(section) = section else {
            let (https, http, trusted_proxies) = (vec![default], Vec::new(), Vec::new());
            let https_port = default.port();
            return Self { https, http, https_port, trusted_proxies, proxy_protocol: false, threads: cores };
        };
        let https = read_addresses(section, "https").unwrap_or_else(|| vec![default]);
        if https.is_empty() {
            let problem = Problem::at(&section.place_of("https"), "`https` is empty: there would be nothing to serve");
            section.problem(problem.hint("name an address, such as \"0.0.0.0:443\""));
        }
        let http = read_addresses(section, "http").unwrap_or_default();
        let port = section.integer("https_port", 1..=65535).and_then(|port| u16::try_from(port).ok());
        let threads = section.integer("threads", 0..=1024).and_then(|threads| usize::try_from(threads).ok());
        let trusted_proxies = read_networks(section);
        let proxy_protocol = section.boolean("proxy_protocol").unwrap_or(false);
        if proxy_protocol && trusted_proxies.is_empty() {
            let message = "`proxy_protocol` without `trusted_proxies` would close every connection";
            let problem = Problem::at(&section.place_of("proxy_protocol"), message);
            section
                .problem(problem.hint("name the load balancer's network, such as trusted_proxies = [\"10.0.0.0/8\"]"));
        }
        Self {
            https_port: port.unwrap_or_else(|| https.first().map_or(443, SocketAddr::port)),
            trusted_proxies,
            proxy_protocol,
            threads: threads.filter(|threads| *threads > 0).unwrap_or(cores),
            https,
            http,
        }
    }
}

fn read_addresses(section: &Section<'_>, key: &'static str) -> Option<Vec<SocketAddr>> {
    let found = section.strings(key)?;
    let parsed: Vec<_> = found
        .iter()
        .filter_map(|text| {
            let address = text.value.parse().ok();
            if address.is_none() {
                let problem = Problem::at(&text.place, format!("{:?} is not an address to listen on", text.value));
                section
                    .problem(problem.hint("write an IP address and a port, such as \"0.0.0.0:443\" or \"[::]:443\""));
            }
            address
        })
        .collect();
    // What is left of a list with mistakes in it is not what was meant.
    (parsed.len() == found.len()).then_some(parsed)
}

fn read_networks(section: &Section<'_>) -> Vec<IpNet> {
    let found = section.strings("trusted_proxies").unwrap_or_default();
    let parsed = found.iter().filter_map(|text| {
        let single = || text.value.parse::<std::net::IpAddr>().map(IpNet::from);
        let network = text.value.parse().or_else(|_| single()).ok();
        if network.is_none() {
            let problem = Problem::at(&text.place, format!("{:?} is not a network", text.value));
            section.problem(problem.hint("write it as \"10.0.0.0/8\""));
        }
        network
    });
    parsed.collect()
}

/// How much one connection, and all together, may take.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Connections at once; others wait in the kernel.
    pub max_connections: usize,
    /// TLS handshakes at once.
    pub max_handshakes: usize,
    /// How long a TLS handshake may take, and as long a client may take to leave when it is asked to.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take, from its first byte.
    pub header_timeout: Duration,
    /// How long a connection is kept on which nothing is asked.
    pub idle_timeout: Duration,
    /// How long a client may send nothing of a body it announced.
    pub body_timeout: Duration,
    /// How long a client may read nothing of an answer.
    pub write_timeout: Duration,
    /// How long a tunnel may stand in which nothing moves.
    pub tunnel_timeout: Duration,
    /// The size of a head.
    pub header_bytes: usize,
    /// The number of header fields.
    pub header_count: usize,
    /// The length of a request target.
    pub uri_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
}

impl LimitSettings {
    /// Reads the section; without it, the defaults hold.
    pub fn read(section: Option<&Section<'_>>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut limits = Self {
            max_connections: 10_000,
            max_handshakes: cores * 64,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            tunnel_timeout: Duration::from_secs(3600),
            header_bytes: 32 * 1024,
            header_count: 100,
            uri_bytes: 16 * 1024,
            http2_streams: 100,
        };
        let Some(section) = section else {
            return limits;
        };
        let number = |key, range, target: &mut usize| {
            *target = section.integer(key, range).and_then(|number| usize::try_from(number).ok()).unwrap_or(*target);
        };
        number("max_connections", 1..=10_000_000, &mut limits.max_connections);
        number("max_handshakes", 1..=1_000_000, &mut limits.max_handshakes);
        number("header_count", 10..=1_000, &mut limits.header_count);
        let size = |key, range, target: &mut usize| {
            *target = section.size(key, range).and_then(|size| usize::try_from(size).ok()).unwrap_or(*target);
        };
        size("header_size", 8 * 1024..=1024 * 1024, &mut limits.header_bytes);
        size("uri_size", 1024..=60 * 1024, &mut limits.uri_bytes);
        let wait = |key, target: &mut Duration| {
            let range = Duration::from_millis(100)..=Duration::from_secs(86_400);
            *target = section.duration(key, range).unwrap_or(*target);
        };
        wait("handshake_timeout", &mut limits.handshake_timeout);
        wait("header_timeout", &mut limits.header_timeout);
        wait("idle_timeout", &mut limits.idle_timeout);
        wait("body_timeout", &mut limits.body_timeout);
        wait("write_timeout", &mut limits.write_timeout);
        wait("tunnel_timeout", &mut limits.tunnel_timeout);
        let streams = section.integer("http2_streams", 1..=1_000).and_then(|number| u32::try_from(number).ok());
        limits.http2_streams = streams.unwrap_or(limits.http2_streams);
        limits
    }

    /// What a request may not exceed.
    pub fn arrival(&self) -> ArrivalLimits {
        ArrivalLimits { uri_bytes: self.uri_bytes, header_count: self.header_count }
    }

    /// hyper's buffer: a head that is too large by less than half gets our page, any other hyper's bare 431.
    pub(super) fn head_buffer(&self) -> usize {
        (self.header_bytes * 3 / 2).max(64 * 1024)
    }

    /// HPACK-decoded bytes of one HTTP/2 head (RFC 9113 §6.5.2).
    pub(super) fn http2_header_list(&self) -> u32 {
        u32::try_from(self.header_bytes).unwrap_or(u32::MAX)
    }
}
