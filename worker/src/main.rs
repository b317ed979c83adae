//! `scalequest-worker`: hands the command line to the library.

/// Training makes a fresh buffer for every operation; an allocator that keeps pages saves most of its page errors.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    scalequest_worker::cli::main()
}
