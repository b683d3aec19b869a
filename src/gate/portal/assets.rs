//! Styles and scripts of our pages. Their names carry a hash of their content, so browsers may keep them for ever.

use std::fmt::Write;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::page;
use crate::crypto::sha256;
use crate::web::body::Body;

pub(super) static STYLE: Asset = Asset {
    stem: "style",
    ending: "css",
    kind: "text/css; charset=utf-8",
    text: include_str!("../../pages/assets/style.css"),
};
pub(super) static SCRIPT: Asset = Asset {
    stem: "sign-in",
    ending: "js",
    kind: "text/javascript; charset=utf-8",
    text: include_str!("../../pages/assets/sign-in.js"),
};
pub(super) static ONWARD: Asset = Asset {
    stem: "onward",
    ending: "js",
    kind: "text/javascript; charset=utf-8",
    text: include_str!("../../pages/assets/onward.js"),
};

#[derive(Debug)]
pub(super) struct Asset {
    stem: &'static str,
    ending: &'static str,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn name(&self) -> String {
        let mut hash = String::new();
        for byte in &sha256(self.text.as_bytes())[..8] {
            let _ = write!(hash, "{byte:02x}");
        }
        format!("{}.{hash}.{}", self.stem, self.ending)
    }

    /// Where browsers find it.
    pub(super) fn path(&self) -> String {
        format!("{}/assets/{}", super::OURS, self.name())
    }
}

/// The assets by name.
#[derive(Debug)]
pub(super) struct Assets(Vec<(String, &'static Asset)>);

impl Assets {
    pub(super) fn new() -> Self {
        Self([&STYLE, &SCRIPT, &ONWARD].map(|asset| (asset.name(), asset)).into())
    }

    pub(super) fn serve(&self, name: &str) -> Option<Response<Body>> {
        let (_, asset) = self.0.iter().find(|(known, _)| known == name)?;
        let mut response = Response::new(Body::full(asset.text));
        page::protect(response.headers_mut());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
        Some(response)
    }
}
