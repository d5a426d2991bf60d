//! Defaults that depend on the machine. They decide how fast an answer comes and never what it says.

use std::path::Path;

/// Bytes a token of a base-sized model (768 columns) takes while a product reads it.
const BYTES_A_TOKEN: usize = 6 * 768;
/// Rows a thread needs so that reading a weight is little beside multiplying with it.
const TOKENS_A_THREAD: usize = 256;
/// Beyond this a turn only gets longer, and other jobs wait for it; recorded activations take memory as well, some
/// 0.3 MB a token of a base-sized model. A graphics processor wants as much at a time.
pub const MOST: usize = 8192;
/// Where the size is not told.
const USUAL_CACHE: usize = 1 << 20;

/// Threads that may run at once: those of the container, where it is limited.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Tokens of a turn: what the threads' own caches hold of them, and enough for every thread. The cache that threads
/// share says nothing: a virtual machine sees all of it and gets a part.
pub fn tokens_per_turn(threads: usize) -> usize {
    tokens_for(own_cache().unwrap_or(USUAL_CACHE), threads)
}

fn tokens_for(cache: usize, threads: usize) -> usize {
    let fits = (cache / BYTES_A_TOKEN).next_power_of_two();
    threads.saturating_mul(fits.max(TOKENS_A_THREAD)).min(MOST)
}

/// Bytes of the first core's second cache, where the system tells.
fn own_cache() -> Option<usize> {
    let caches = std::fs::read_dir(Path::new("/sys/devices/system/cpu/cpu0/cache")).ok()?;
    caches.filter_map(|cache| second(&cache.ok()?.path())).next()
}

/// The size of a cache of the second level.
fn second(folder: &Path) -> Option<usize> {
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    if text("level")?.trim() == "2" { size(&text("size")?) } else { None }
}

/// "32768K", as Linux writes it.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor: usize = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_fits_the_caches_and_feeds_every_thread() {
        assert_eq!(tokens_for(2 << 20, 2), 1024);
        assert_eq!(tokens_for(1 << 20, 2), 512);
        assert_eq!(tokens_for(0, 2), 512, "a thread wants more than a small cache holds");
        assert_eq!(tokens_for(2 << 20, 64), MOST);
        assert_eq!(tokens_for(2 << 20, usize::MAX), MOST);
    }

    #[test]
    fn sizes_are_read_as_linux_writes_them() {
        assert_eq!(size("32768K\n"), Some(32 << 20));
        assert_eq!((size("1M"), size("64")), (Some(1 << 20), Some(64)));
        assert_eq!((size("x"), size("1G"), size("")), (None, None, None));
    }
}
