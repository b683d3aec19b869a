//! Why a request could not be served, and what its sender is told: one table.

use std::time::Duration;

use http::StatusCode;

use crate::upstream::UpstreamError;
use crate::web::arrival::Malformed;

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Visitor,
    App,
    Us,
}

/// Why a request could not be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("an encoded slash, which this app does not take")]
    EncodedSlash,
    #[error("no app has this host")]
    UnknownHost,
    #[error("the host is not the one the TLS connection was made for")]
    Misdirected,
    #[error("no app has this path")]
    NotFound,
    #[error("the method is not for this page")]
    WrongMethod,
    #[error("the rules do not allow it")]
    Forbidden,
    #[error("the form came from another site")]
    CrossSite,
    #[error("the form is too large")]
    FormTooLarge,
    #[error("the form did not arrive in time")]
    FormTooSlow,
    #[error("the form cannot be read")]
    BadForm,
    #[error("a page could not be written")]
    Page(#[from] askama::Error),
    #[error("app failed")]
    Upstream(#[from] UpstreamError),
}

impl Failure {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(Malformed::Method) | Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Malformed(Malformed::Expectation) => StatusCode::EXPECTATION_FAILED,
            Self::Malformed(Malformed::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Malformed(Malformed::Headers) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Malformed(
                Malformed::Target | Malformed::Host | Malformed::Path(_) | Malformed::Framing | Malformed::Head(_),
            )
            | Self::EncodedSlash
            | Self::BadForm => StatusCode::BAD_REQUEST,
            Self::UnknownHost | Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::FormTooLarge | Self::Upstream(UpstreamError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::FormTooSlow | Self::Upstream(UpstreamError::ClientStalled { .. }) => StatusCode::REQUEST_TIMEOUT,
            Self::Page(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Upstream(
                UpstreamError::Unreachable { .. }
                | UpstreamError::Broken { .. }
                | UpstreamError::BadUpgrade { .. }
                | UpstreamError::NoUpgrade { .. },
            ) => StatusCode::BAD_GATEWAY,
            Self::Upstream(UpstreamError::AllDown { .. } | UpstreamError::Busy { .. }) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Upstream(UpstreamError::TooSlow { .. }) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(super) fn blame(&self) -> Blame {
        match self {
            Self::Upstream(UpstreamError::TooLarge { .. } | UpstreamError::ClientStalled { .. }) => Blame::Visitor,
            Self::Upstream(_) => Blame::App,
            Self::Page(_) => Blame::Us,
            Self::Malformed(_)
            | Self::EncodedSlash
            | Self::UnknownHost
            | Self::Misdirected
            | Self::NotFound
            | Self::WrongMethod
            | Self::Forbidden
            | Self::CrossSite
            | Self::FormTooLarge
            | Self::FormTooSlow
            | Self::BadForm => Blame::Visitor,
        }
    }

    /// When it may be worth asking again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upstream(UpstreamError::AllDown { retry_after, .. } | UpstreamError::Busy { retry_after, .. }) => {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    /// The word for the access log.
    pub(super) fn decision(&self) -> &'static str {
        match self.blame() {
            Blame::Visitor => "refuse",
            Blame::App => "app failed",
            Blame::Us => "failed",
        }
    }

    /// After what has two readings, nothing more on the connection can be trusted to be a request (RFC 9112 §11.2).
    pub(super) fn closes_connection(&self) -> bool {
        matches!(
            self,
            Self::Malformed(Malformed::Framing | Malformed::Host | Malformed::Target | Malformed::Expectation)
                | Self::Malformed(Malformed::Headers | Malformed::Head(_))
        )
    }

    /// A title and a sentence for people: fixed words, never a cause.
    pub(super) fn visitor_text(&self) -> (&'static str, &'static str) {
        match self.status() {
            StatusCode::METHOD_NOT_ALLOWED => {
                ("Method not allowed", "This address does not take that kind of request.")
            }
            StatusCode::EXPECTATION_FAILED => {
                ("Expectation failed", "The request expects something that is not offered here.")
            }
            StatusCode::URI_TOO_LONG => ("Address too long", "The address of this request is too long."),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                "Request headers too large",
                "Your browser sent too much along with this request, probably too many cookies. Deleting the cookies of this site helps.",
            ),
            StatusCode::BAD_REQUEST => {
                ("Malformed request", "This request could be understood in more than one way, so it was not passed on.")
            }
            StatusCode::MISDIRECTED_REQUEST => ("Unknown site", "There is no such site here."),
            StatusCode::NOT_FOUND => ("Not found", "There is nothing at this address."),
            StatusCode::FORBIDDEN => match self {
                Self::CrossSite => ("Not from here", "This request came from another site and was not carried out."),
                _ => (
                    "Not allowed",
                    "You are signed in, but this page is not open to you. If you need it, ask whoever runs this site.",
                ),
            },
            StatusCode::PAYLOAD_TOO_LARGE => ("Too large", "What you sent is larger than this site takes."),
            StatusCode::REQUEST_TIMEOUT => {
                ("Too slow", "The request did not arrive completely in time. Please try again.")
            }
            StatusCode::BAD_GATEWAY => {
                ("The app does not answer", "The app behind this page cannot be reached. Please try again later.")
            }
            StatusCode::SERVICE_UNAVAILABLE => match self {
                Self::Upstream(UpstreamError::Busy { .. }) => {
                    ("The app is busy", "The app behind this page has too much to do. Please try again in a moment.")
                }
                _ => ("The app is down", "No server of the app is reachable. Please try again in a moment."),
            },
            StatusCode::GATEWAY_TIMEOUT => {
                ("The app is too slow", "The app behind this page did not answer in time. Please try again later.")
            }
            _ => ("Something went wrong", "This is our fault. Please try again later."),
        }
    }
}
