//! A web server for one test: answers each request as the test's function says.

#![allow(dead_code)] // every test uses a part

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// What a client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// Headers by their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// The first byte that is asked for, if not all are.
    pub(crate) fn start(&self) -> Option<usize> {
        let range = self.headers.get("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// What to send: status and headers as they are, then the body, then perhaps nothing for long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// How long the connection stays open after the body.
    pub(crate) silence: Duration,
}

/// An answer of a status with headers and a body of the right length.
pub(crate) fn answer(
    status: &'static str,
    headers: &[(&'static str, &str)],
    body: &[u8],
) -> Answer {
    let mut all = vec![("Content-Length", body.len().to_string())];
    all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Answer { status, headers: all, body: body.into(), silence: Duration::ZERO }
}

/// The part of `content` that is asked for, under an entity tag that goes with it.
pub(crate) fn part(request: &Request, content: &[u8], tag: &str) -> Answer {
    match request.start() {
        Some(start) if request.headers.get("if-range").is_some_and(|known| known == tag) => {
            let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
            let headers = [("ETag", tag), ("Content-Range", &range)];
            answer("206 Partial Content", &headers, &content[start..])
        }
        _ => answer("200 OK", &[("ETag", tag)], content),
    }
}

/// A server on a free port of this machine, which ends with the test.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves with a function of the request and of how many came before it.
    pub(crate) fn start(
        respond: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listening("http", respond, |stream| stream)
    }

    /// Serves on streams that `secured` makes of connections.
    pub(crate) fn listening<S: Read + Write>(
        scheme: &str,
        respond: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
        secured: impl Fn(TcpStream) -> S + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (requests, both) = (Arc::clone(&seen), Arc::new((respond, secured)));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, both) = (Arc::clone(&requests), Arc::clone(&both));
                thread::spawn(move || serve((both.1)(stream), &requests, &both.0));
            }
        });
        Self { url: format!("{scheme}://127.0.0.1:{port}"), seen }
    }

    /// All requests until now.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no thread failed").clone()
    }
}

/// Reads a request, notes it, and answers; then the connection is closed.
fn serve(
    mut stream: impl Read + Write,
    requests: &Mutex<Vec<Request>>,
    respond: &(dyn Fn(&Request, usize) -> Answer + Send + Sync),
) {
    let mut lines = BufReader::new(&mut stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or("").to_owned();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_lowercase(), value.to_owned()))
        })
        .collect();
    let request = Request { path, headers };
    let before = {
        let mut requests = requests.lock().expect("no thread failed");
        requests.push(request.clone());
        requests.len() - 1
    };
    let answer = respond(&request, before);
    let mut bytes = format!("HTTP/1.1 {}\r\nConnection: close\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(&answer.body);
    // The client may have gone away, which some tests want.
    _ = stream.write_all(&bytes).and_then(|()| stream.flush());
    thread::sleep(answer.silence);
}
