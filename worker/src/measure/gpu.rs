//! GPUs, as NVIDIA's driver sees them (NVML). Its library is opened when it runs: without it, or
//! without a GPU, there is nothing to measure, which is no error.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::table::{GPU_MEMORY, GPU_MEMORY_USED, GPU_USE};
use crate::machine::gpu_id;

/// The GPUs that a worker trains on.
#[derive(Debug)]
pub struct Gpus {
    /// The addresses of all its functions: 8 KB.
    nvml: Box<Nvml>,
    /// As the worker calls them, and as the driver does.
    devices: Vec<(String, String)>,
}

impl Gpus {
    /// The GPUs of a worker on `device` with so many ranks; none on a CPU, and where the driver cannot
    /// be asked.
    pub fn open(device: &str, ranks: u32) -> Option<Self> {
        let first: u32 = device.strip_prefix("cuda:")?.parse().ok()?;
        let nvml = match Nvml::init() {
            Ok(nvml) => Box::new(nvml),
            Err(error) => {
                tracing::warn!(%error, "the driver's library (NVML) cannot be used: no metrics of GPUs");
                return None;
            }
        };
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let devices = (first..first.saturating_add(ranks))
            .filter_map(|number| {
                let id = gpu_id(&number.to_string(), visible.as_deref())?;
                Some((format!("cuda:{number}"), id))
            })
            .collect();
        Some(Self { nvml, devices })
    }

    /// Looks at them, which takes some milliseconds.
    pub fn sample(&self) {
        for (name, id) in &self.devices {
            match self.device(id) {
                Ok(device) => record(name, &device),
                Err(error) => {
                    tracing::debug!(%error, gpu = id, "the driver does not know this GPU");
                }
            }
        }
    }

    fn device(&self, id: &str) -> Result<Device<'_>, NvmlError> {
        match id.parse() {
            Ok(number) => self.nvml.device_by_index(number),
            Err(_a_uuid) => self.nvml.device_by_uuid(id),
        }
    }
}

/// What the driver does not say of a device (of a part of one, its use) is left out.
fn record(name: &str, device: &Device<'_>) {
    if let Ok(usage) = device.utilization_rates() {
        let share = f64::from(usage.gpu) / 100.0;
        metrics::gauge!(GPU_USE, "device" => name.to_owned()).set(share);
    }
    if let Ok(memory) = device.memory_info() {
        metrics::gauge!(GPU_MEMORY_USED, "device" => name.to_owned()).set(memory.used as f64);
        metrics::gauge!(GPU_MEMORY, "device" => name.to_owned()).set(memory.total as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_on_the_cpu_has_no_gpus_to_look_at() {
        assert!(Gpus::open("cpu", 1).is_none());
        assert!(Gpus::open("cuda:x", 1).is_none());
    }
}
