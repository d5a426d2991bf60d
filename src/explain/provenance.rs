//! What an answer was computed by and on.

use std::sync::OnceLock;

use super::outcome::Provenance;

pub(super) fn provenance(threads: usize, device: &str) -> Provenance {
    Provenance {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: device.to_owned(),
        dtype: "f32".to_owned(),
        cpu: cpu().to_owned(),
        threads,
    }
}

/// The processor's name and its widest vector instructions; neither changes while the process runs.
fn cpu() -> &'static str {
    static CPU: OnceLock<String> = OnceLock::new();
    CPU.get_or_init(|| match instructions() {
        Some(instructions) => format!("{} ({instructions})", processor_name()),
        None => processor_name(),
    })
}

fn processor_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    name.filter(|name| !name.is_empty()).unwrap_or(std::env::consts::ARCH).to_owned()
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn instructions() -> Option<&'static str> {
    if std::is_x86_feature_detected!("avx512f") {
        Some("avx512f")
    } else if std::is_x86_feature_detected!("avx2") {
        Some("avx2")
    } else {
        None
    }
}

#[cfg(target_arch = "aarch64")]
fn instructions() -> Option<&'static str> {
    Some("neon")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions() -> Option<&'static str> {
    None
}
