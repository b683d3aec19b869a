//! WebSockets over HTTP/2 (RFC 8441): an extended CONNECT is made into the HTTP/1.1 handshake that it stands for before
//! anybody looks at it, so that it is judged and forwarded as one.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;

use crate::crypto;

/// Marks a handshake that came as an extended CONNECT. Any 2xx would tell its client that the WebSocket is open.
#[derive(Clone, Copy, Debug)]
struct ByStream;

/// Makes a GET handshake of an extended CONNECT for a WebSocket, and says whether it was one. Every other request stays
/// as it is, other protocols' CONNECT among them.
pub fn unfold<B>(request: &mut Request<B>) -> bool {
    let protocol = request.extensions_mut().remove::<Protocol>();
    let is_websocket = request.version() == Version::HTTP_2
        && request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
    if !is_websocket {
        return false;
    }
    *request.method_mut() = Method::GET;
    request.extensions_mut().insert(ByStream);
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let key = HeaderValue::from_str(&crypto::websocket_key()).expect("base64 fits into a header");
    headers.insert(SEC_WEBSOCKET_KEY, key);
    true
}

/// Whether a handshake came as an extended CONNECT.
pub fn is_by_stream(extensions: &Extensions) -> bool {
    extensions.get::<ByStream>().is_some()
}

/// Makes of the answer that switches protocols the one that opens the stream (RFC 8441 §5).
pub fn fold<B>(response: &mut Response<B>) {
    *response.status_mut() = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
}
