//! `scalequest-worker`: hands the command line to the library.

fn main() -> std::process::ExitCode {
    scalequest_worker::cli::main()
}
