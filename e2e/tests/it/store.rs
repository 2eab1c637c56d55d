//! What lies in a store folder, read without the code that wrote it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One output checkpoint of a task.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// Its folder: `tasks/TASK/gGENERATION/out-NAME`.
    pub(crate) folder: PathBuf,
    /// The task's id.
    pub(crate) task: String,
    /// The task's kind.
    pub(crate) kind: String,
    /// The budget of a `finetune` task.
    pub(crate) budget: Option<u64>,
}

impl Output {
    /// The part with the tensors.
    pub(crate) fn tensors(&self) -> PathBuf {
        self.folder.join("tensors.safetensors")
    }

    /// ReLUs that the net keeps: the bits that are set in its indicators.
    pub(crate) fn relu_count(&self) -> u64 {
        let bytes = fs::read(self.tensors()).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut count = 0;
        for (name, tensor) in file.tensors() {
            if name.starts_with("site.") && name.ends_with(".indicators") {
                assert_eq!(tensor.dtype(), safetensors::Dtype::U8, "{name}");
                let ones = tensor
                    .data()
                    .iter()
                    .map(|byte| u64::from(byte.count_ones()));
                count += ones.sum::<u64>();
            }
        }
        count
    }
}

/// Every complete output checkpoint in a store.
pub(crate) fn outputs(store: &Path) -> Vec<Output> {
    let mut outputs = Vec::new();
    for task in folders(&store.join("tasks")) {
        for generation in folders(&task) {
            for folder in folders(&generation) {
                let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
                if name.starts_with("out-") && folder.join("manifest.json").is_file() {
                    outputs.push(output(folder));
                }
            }
        }
    }
    outputs
}

fn output(folder: PathBuf) -> Output {
    let json = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
    };
    let task = json("manifest.json")["task"].as_str().unwrap().to_owned();
    let state = json("state.json");
    let work = &state["spec"]["work"];
    Output {
        kind: work["kind"].as_str().unwrap().to_owned(),
        budget: work["budget"].as_u64(),
        task,
        folder,
    }
}

/// The folders in a folder.
pub(crate) fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// The rows of a CSV file by its header's names. Our fronts need no quotes.
pub(crate) fn csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| {
        assert!(!line.contains('"'), "a quoted field: {line}");
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), header.len(), "{line}");
        let names = header.iter().map(|name| (*name).to_owned());
        names.zip(fields.into_iter().map(str::to_owned)).collect()
    };
    lines.map(row).collect()
}
