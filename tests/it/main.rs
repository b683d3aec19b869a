//! What Vestibule does, seen from outside: one binary, so that it links once and runs in parallel.

mod apps;
