//! What an admitted request costs in system calls, which no noise on the machine changes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::process::Process;

const REQUESTS: u32 = 2_000;

/// A read and a write on each side are four; the rest is for what happens once in many requests.
const MOST_FOR_EACH: f64 = 4.1;

/// How programs read from sockets and write to them. The program has no other files to do it with meanwhile.
const SOCKET_CALLS: &str = "recvfrom,sendto,recvmsg,sendmsg,recvmmsg,sendmmsg,read,write,readv,writev";

/// An app that answers at once, with one write.
async fn prompt_app() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// strace on a running process and all its threads; what it counts goes to `summary`.
fn trace(process: u32, summary: &Path) -> Child {
    let started = Command::new("strace")
        .args(["-f", "-c", "-U", "name,calls", "-e", &format!("trace={SOCKET_CALLS}"), "-o"])
        .arg(summary)
        .args(["-p", &process.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    started.unwrap_or_else(|error| panic!("this test needs the program strace ({error}): apt-get install -y strace"))
}

/// Waits until strace has all threads of the process, or has given up.
async fn attached(process: u32, tracer: &mut Child) {
    for _ in 0..300 {
        if tracer.try_wait().expect("a child can be asked").is_some() {
            let mut said = String::new();
            let stderr = tracer.stderr.take().expect("it was asked for");
            std::io::read_to_string(stderr).map(|text| said = text).expect("what it said is text");
            panic!("strace may not trace a process here, which this test needs (ptrace(2), CAP_SYS_PTRACE): {said}");
        }
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
        let mut statuses =
            threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
        let traced = format!("TracerPid:\t{}\n", tracer.id());
        if statuses.all(|status| status.contains(&traced)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("strace does not attach");
}

/// Lets go of the process, and adds up what was counted.
fn counted(mut tracer: Child, summary: &Path) -> (u32, String) {
    let interrupted = Command::new("kill").args(["-s", "INT", &tracer.id().to_string()]).status();
    assert!(interrupted.expect("kill runs").success());
    tracer.wait().expect("strace ends");
    let said = std::fs::read_to_string(summary).expect("strace writes its summary");
    let mut calls = 0;
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, count] = words[..]
            && SOCKET_CALLS.split(',').any(|call| call == name)
        {
            calls += count.parse::<u32>().expect("a count");
        }
    }
    (calls, said)
}

#[tokio::test]
async fn an_admitted_request_takes_four_socket_calls() {
    // Each line of a log is a call, too.
    let process = Process::start_quietly(&prompt_app().await, "");
    let browser = process.browser();
    browser.sign_in("ann").await;
    assert_eq!(browser.fetch("/").await.text().await.expect("an answer"), "hi");

    let summary = process.folder.path().join("summary");
    let mut tracer = trace(process.id(), &summary);
    attached(process.id(), &mut tracer).await;
    for _ in 0..REQUESTS {
        let answer = browser.fetch("/").await;
        assert_eq!((answer.status().as_u16(), answer.text().await.expect("an answer").as_str()), (200, "hi"));
    }
    let (calls, said) = counted(tracer, &summary);
    let each = f64::from(calls) / f64::from(REQUESTS);
    assert!(each >= 3.9, "only {each} socket calls for each request were seen:\n{said}");
    assert!(each <= MOST_FOR_EACH, "{each} socket calls for each request:\n{said}");
}
