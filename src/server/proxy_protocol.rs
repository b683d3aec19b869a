//! The PROXY protocol, versions 1 and 2: a load balancer in front of us says in the first bytes of a connection whose it is
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). Whether the peer may say so is decided elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with; no request and no TLS handshake does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// With its line end (§2.1).
const LONGEST_LINE: usize = 107;

/// Addresses take 216 bytes at most; the rest is for extensions, which we do not read.
const LONGEST_BLOCK: usize = 2048;

/// What was said is no PROXY header.
#[derive(Debug, thiserror::Error)]
#[error("no PROXY header")]
pub(super) struct NoHeader;

/// Reads the header and not a byte more. The answer is the client's address, or none if the connection is the load
/// balancer's own.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    // The shortest header of all, "PROXY UNKNOWN" and a line end, is longer.
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if length > LONGEST_BLOCK {
            return Err(malformed(NoHeader));
        }
        let mut block = vec![0; length];
        stream.read_exact(&mut block).await?;
        return parse_block(head[0], head[1], &block).map_err(malformed);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(malformed(NoHeader));
    }
    let mut line = start.to_vec();
    // Byte by byte: what follows the line belongs to TLS.
    while !line.ends_with(b"\n") {
        if line.len() == LONGEST_LINE {
            return Err(malformed(NoHeader));
        }
        line.push(stream.read_u8().await?);
    }
    parse_line(&line).map_err(malformed)
}

/// Version 1: `PROXY TCP4 source destination port port` (§2.1).
fn parse_line(line: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n")).ok_or(NoHeader)?;
    let words: Vec<_> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            // The destination is of no use to us, but a header with a wrong one is none.
            parse_ip(destination, family).and_then(|_| parse_port(destination_port))?;
            Ok(Some(SocketAddr::new(parse_ip(source, family)?, parse_port(source_port)?)))
        }
        _ => Err(NoHeader),
    }
}

fn parse_ip(text: &str, family: &str) -> Result<IpAddr, NoHeader> {
    let address = if family == "TCP4" {
        text.parse::<Ipv4Addr>().map(IpAddr::V4)
    } else {
        text.parse::<Ipv6Addr>().map(IpAddr::V6)
    };
    address.map_err(|_| NoHeader)
}

fn parse_port(text: &str) -> Result<u16, NoHeader> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| plain).ok_or(NoHeader)
}

/// Version 2: version and command, family and transport, addresses and extensions (§2.2).
fn parse_block(command: u8, family: u8, block: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    match (command, family) {
        // LOCAL: the load balancer speaks for itself, whatever stands in the block.
        (0x20, _) => Ok(None),
        (0x21, 0x11) => {
            let (source, rest) = block.split_first_chunk::<4>().ok_or(NoHeader)?;
            address(Ipv4Addr::from(*source).into(), rest.get(4..))
        }
        (0x21, 0x21) => {
            let (source, rest) = block.split_first_chunk::<16>().ok_or(NoHeader)?;
            address(Ipv6Addr::from(*source).into(), rest.get(16..))
        }
        // Unspecified, or nothing that comes in over TCP.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Ok(None),
        _ => Err(NoHeader),
    }
}

/// An address and its port, which stands before the destination's.
fn address(source: IpAddr, ports: Option<&[u8]>) -> Result<Option<SocketAddr>, NoHeader> {
    match ports {
        Some([high, low, _, _, ..]) => Ok(Some(SocketAddr::new(source, u16::from_be_bytes([*high, *low])))),
        _ => Err(NoHeader),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read, and what is left for TLS.
    fn check(mut bytes: &[u8]) -> (Result<Option<String>, io::ErrorKind>, &[u8]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(read(&mut bytes));
        (read.map(|address| address.map(|address| address.to_string())).map_err(|error| error.kind()), bytes)
    }

    fn block(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    /// From 203.0.113.7:4660 to 10.0.0.1:443.
    const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 1, 187];

    #[test]
    fn headers_that_are_one_name_the_client_and_leave_the_rest() {
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0, 80, 1, 187]].concat();
        let long = [&V4[..], &[0; 500]].concat();
        for (bytes, address) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 443\r\n".to_vec(), Some("203.0.113.7:4660")),
            (b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n".to_vec(), Some("[2001:db8::7]:0")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n".to_vec(), None),
            (block(0x21, 0x11, &V4), Some("203.0.113.7:4660")),
            (block(0x21, 0x11, &long), Some("203.0.113.7:4660")),
            (block(0x21, 0x21, &v6), Some("[2001:db8::7]:80")),
            (block(0x20, 0x11, &V4), None),
            (block(0x20, 0x00, &[]), None),
            (block(0x21, 0x00, &[]), None),
        ] {
            let whole = [&bytes[..], b"\x16\x03\x01"].concat();
            let (read, rest) = check(&whole);
            assert_eq!((read.unwrap().as_deref(), rest), (address, &b"\x16\x03\x01"[..]), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE));
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\n".to_vec(),
            b"PROXY  TCP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2 \r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 01 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 +1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 65536\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.07 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY \xff\xff\xff\xff\xff\xff\xff\r\n".to_vec(),
            b"proxy tcp4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            too_long.into_bytes(),
            block(0x21, 0x11, &V4[..11]),
            block(0x21, 0x21, &V4),
            block(0x11, 0x11, &V4),
            block(0x22, 0x11, &V4),
            block(0x21, 0x41, &V4),
            block(0x20, 0x11, &[0; LONGEST_BLOCK + 1]),
        ] {
            assert_eq!(check(&bytes).0, Err(io::ErrorKind::InvalidData), "{bytes:?}");
        }
        for bytes in [&b""[..], b"PROXY", b"PROXY TCP4 203.0.113.7", &SIGNATURE, &block(0x21, 0x11, &V4)[..20]] {
            assert_eq!(check(bytes).0, Err(io::ErrorKind::UnexpectedEof), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_address_that_is_written_is_read(address: SocketAddr, port: u16) {
            let (family, other) = if address.is_ipv4() { ("TCP4", "10.0.0.1") } else { ("TCP6", "::1") };
            let line = format!("PROXY {family} {} {other} {} {port}\r\n", address.ip(), address.port());
            let expected = SocketAddr::new(address.ip(), address.port());
            prop_assert_eq!(check(line.as_bytes()).0, Ok(Some(expected.to_string())));
        }

        #[test]
        fn no_bytes_are_read_beyond_the_header_or_break_anything(start in 0..3_usize, bytes: Vec<u8>) {
            let whole = [[&b""[..], b"PROXY TCP4 ", &SIGNATURE][start], &bytes].concat();
            let (_, rest) = check(&whole);
            prop_assert!(whole.len() - rest.len() <= SIGNATURE.len() + 4 + LONGEST_BLOCK);
        }
    }
}
