//! What a worker's machine is called and has.

mod memory;

use std::process::{Command, Stdio};

use autorep_core::offer::Offer;

pub use self::memory::memory_limit_bytes;

/// The host's name, of which only what names a machine is kept; `worker` if it has none.
pub fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_no_procfs| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    let host = plain(host.trim());
    match host.trim_start_matches('.') {
        "" => "worker".to_owned(),
        host => host.to_owned(),
    }
}

/// The first 63 letters, digits, dashes, underscores and dots.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter))
        .take(63)
        .collect()
}

/// What this machine has for a worker on `device`: the memory that it may use and, for `cuda:N`, the GPU's name and
/// memory as the driver's `nvidia-smi` gives them. What cannot be found out is left unknown, and
/// then no sweep that asks for it comes here.
///
/// On a CPU as many ranks are offered as the worker was told to run, if it was told.
pub fn offer_of(device: &str, ranks: Option<u32>) -> Offer {
    let memory_mib = memory::memory_mib().unwrap_or(0);
    let Some(index) = device.strip_prefix("cuda:") else {
        return Offer {
            gpus: ranks.unwrap_or(0),
            memory_mib,
            ..Offer::default()
        };
    };
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let gpu = gpu_id(index, visible.as_deref()).and_then(|id| gpu(&id));
    let (gpu_type, gpu_memory_mib) = gpu.unwrap_or_default();
    Offer {
        gpus: ranks.unwrap_or(1),
        gpu_type,
        gpu_memory_mib,
        memory_mib,
        ..Offer::default()
    }
}

/// What the driver calls the device that libtorch numbers `index`: `CUDA_VISIBLE_DEVICES` renumbers.
pub(crate) fn gpu_id(index: &str, visible: Option<&str>) -> Option<String> {
    let number: usize = index.parse().ok()?;
    let Some(visible) = visible else {
        return Some(index.to_owned());
    };
    let id = visible.split(',').nth(number)?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// A GPU's name and memory in MiB.
fn gpu(id: &str) -> Option<(String, u64)> {
    let asked = Command::new("nvidia-smi")
        .args([
            "--query-gpu=name,memory.total",
            "--format=csv,noheader,nounits",
        ])
        .args(["-i", id])
        .stdin(Stdio::null())
        .output();
    match asked {
        Ok(answer) if answer.status.success() => read_gpu(&String::from_utf8_lossy(&answer.stdout)),
        Ok(answer) => {
            tracing::warn!(status = %answer.status, "nvidia-smi does not say what GPU {id} is");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "nvidia-smi cannot be asked what GPU {id} is");
            None
        }
    }
}

/// `NVIDIA H100 80GB HBM3, 81559`.
fn read_gpu(line: &str) -> Option<(String, u64)> {
    let (name, memory) = line.trim().rsplit_once(',')?;
    Some((name.trim().to_owned(), memory.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_says_of_a_gpu_is_read() {
        let gpu = read_gpu("NVIDIA H100 80GB HBM3, 81559\n");
        assert_eq!(gpu, Some(("NVIDIA H100 80GB HBM3".to_owned(), 81559)));
        assert_eq!(read_gpu("No devices were found"), None);
    }

    #[test]
    fn visible_devices_renumber_gpus() {
        assert_eq!(gpu_id("1", None).as_deref(), Some("1"));
        assert_eq!(gpu_id("1", Some("3, GPU-ab")).as_deref(), Some("GPU-ab"));
        assert_eq!(gpu_id("2", Some("3,4")), None);
        assert_eq!(gpu_id("0", Some("")), None);
    }

    #[test]
    fn this_machine_has_a_name_and_memory_and_no_gpu_for_a_worker_on_the_cpu() {
        assert!(!host_name().is_empty());
        let offer = offer_of("cpu", None);
        assert!(offer.memory_mib > 0);
        assert_eq!((offer.gpus, offer.gpu_type.as_str()), (0, ""));
    }
}
