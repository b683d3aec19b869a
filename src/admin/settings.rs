//! The `[admin]` section.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::problems::Problem;
use crate::section::Section;

/// Where operators' programs ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port. It has no password: keep it on the loopback interface.
    Tcp(SocketAddr),
}

/// The checked `[admin]` section.
#[derive(Clone, Debug, Default)]
pub struct AdminSettings {
    /// None: `admin.sock` in the state folder.
    pub listen: Option<AdminAddress>,
}

impl AdminSettings {
    /// Reads the section.
    pub fn read(section: Option<&Section<'_>>) -> Self {
        let Some(found) = section.and_then(|section| section.string("listen")) else {
            return Self::default();
        };
        let unix = |section: &Section<'_>| {
            let path = found.value.strip_prefix("unix:").filter(|path| !path.is_empty())?;
            Some(AdminAddress::Unix(section.folder().join(path)))
        };
        let listen = found.value.parse().map(AdminAddress::Tcp).ok().or_else(|| unix(section?));
        if listen.is_none()
            && let Some(section) = section
        {
            let problem = Problem::at(&found.place, format!("{:?} is not an address to listen on", found.value));
            section.problem(problem.hint("write \"unix:/path/to/socket\" or \"127.0.0.1:9180\""));
        }
        Self { listen }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}
