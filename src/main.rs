//! The command line. Every command is a function in `vestibule::command`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vestibule::command::main()
}
