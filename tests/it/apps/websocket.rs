//! A WebSocket app that says who it talks to and then echoes, and a client; both are Debian's `python3-websockets`.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::{Program, accepts, free_address};

const PACKAGE: &str = "python3-websockets";

const SERVER: &str = r#"
import asyncio, sys, websockets
async def talk(socket):
    await socket.send("hello " + socket.request_headers.get("Remote-User", "nobody"))
    async for message in socket:
        await socket.send(message)
async def main():
    async with websockets.serve(talk, "127.0.0.1", int(sys.argv[1]), max_size=None):
        await asyncio.Future()
asyncio.run(main())
"#;

const CLIENT: &str = r#"
import asyncio, ssl, sys, websockets
async def main():
    host, port, cookie, origin = sys.argv[1:5]
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    headers = [("Cookie", cookie)] if cookie else []
    async with websockets.connect(f"wss://{host}:{port}/socket", ssl=trust, host="127.0.0.1", server_hostname=host,
            extra_headers=headers, origin=origin or None, max_size=None) as socket:
        print(await socket.recv())
        for size in (1, 100, 70_000, 3_000_000):
            await socket.send(b"x" * size)
            print(len(await socket.recv()))
try:
    asyncio.run(main())
except websockets.InvalidStatusCode as refused:
    print("refused", refused.status_code)
"#;

pub(crate) struct Echo {
    pub(crate) addr: SocketAddr,
    _program: Program,
    _folder: TempDir,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the app");
        let addr = free_address();
        let mut program =
            Program::start("/usr/bin/python3", PACKAGE, folder.path(), &["-c", SERVER, &addr.port().to_string()]);
        program.wait_until(|| accepts(addr));
        Self { addr, _program: program, _folder: folder }
    }
}

/// Opens a WebSocket over TLS, and returns what the client printed. An empty cookie or origin is none.
pub(crate) fn talk(host: &str, port: u16, cookie: &str, origin: &str) -> String {
    let output: Output = Command::new("/usr/bin/python3")
        .args(["-c", CLIENT, host, &port.to_string(), cookie, origin])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("this test needs /usr/bin/python3: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "apt-get install -y {PACKAGE}?\n{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
