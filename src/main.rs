//! The program: sets up the process (allocator, thread counts) and hands over to `cli`.
//!
//! What must happen before the first thread starts happens here, and only here.

use std::process::ExitCode;

use explaind::cli::Invocation;

/// Gradients take large buffers at every layer. This allocator gives the same pages out again; the system's returns
/// them to the kernel, and clearing them anew costs more than the arithmetic.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_pages();
    let invocation = match Invocation::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(failure) => return end(&failure),
    };
    set_threads(invocation.threads());
    invocation.run().unwrap_or_else(|failure| end(&failure))
}

fn end(failure: &explaind::cli::Failure) -> ExitCode {
    eprintln!("explaind: {failure}");
    failure.exit_code()
}

/// `mi_option_purge_delay` = −1: memory once used is kept. Memory is bounded by the token budget of a turn, so what is
/// kept is bounded too. A caller's own `MIMALLOC_PURGE_DELAY` wins.
fn keep_pages() {
    /// `mi_option_purge_delay` in mimalloc 2 and 3; the crate exports no name for it.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: sets one integer inside the allocator; any option number and value are valid arguments.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
    }
}

/// Tells the libraries underneath how many threads compute. Unset, they count the machine's cores, which a container
/// may not use; and candle reads /proc/cpuinfo on every product.
#[expect(clippy::disallowed_methods, reason = "no other thread exists yet")]
fn set_threads(threads: usize) {
    let threads = threads.to_string();
    for (name, value) in [
        ("RAYON_NUM_THREADS", threads.as_str()),
        ("CANDLE_NUM_THREADS", threads.as_str()),
        // One text at a time is tokenised: its pool would only fight with ours.
        ("TOKENIZERS_PARALLELISM", "false"),
    ] {
        // SAFETY: no other thread exists yet, so nobody reads the environment meanwhile. Parsing the command line
        // and the settings starts none.
        unsafe { std::env::set_var(name, value) }
    }
}
