//! The embedded sample app: a page that shows exactly the headers it received. It is reached like any other app, over a
//! connection, though one that never leaves the process.

use std::convert::Infallible;

use askama::Template;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

const BUFFER_BYTES: usize = 16 * 1024;

#[derive(Template)]
#[template(path = "demo.html")]
struct DemoPage<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, String)>,
    body_bytes: usize,
}

/// Our end of a new connection to the sample app.
pub(super) fn dial() -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
    tokio::spawn(async move {
        let served = http1::Builder::new().serve_connection(TokioIo::new(theirs), service_fn(answer)).await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection to the sample app ended");
        }
    });
    ours
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body_bytes = body.collect().await.map(|body| body.to_bytes().len()).unwrap_or_default();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<_> = parts.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    // First what people came to see.
    headers.sort_by_key(|(name, _)| !name.starts_with("remote-"));
    let page = DemoPage { method: parts.method.as_str(), target: &parts.uri.to_string(), headers, body_bytes };
    let mut response = match page.render() {
        Ok(html) => Response::new(Full::from(html)),
        Err(error) => {
            tracing::error!(%error, "the sample app's page cannot be written");
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
