//! How much memory this process may use: what the machine has, or what a container or unit of
//! systemd allows it.

use std::fs;

/// Version 1 of control groups has no word for no limit, but a number of about this size.
const UNLIMITED: u64 = 1 << 62;

/// The machine's memory, or less where a control group allows less, in MiB; none if the system does
/// not say.
pub(super) fn memory_mib() -> Option<u64> {
    let total = total_memory_mib(&read("/proc/meminfo")?)?;
    let limit = memory_limit_bytes().map_or(u64::MAX, |bytes| bytes >> 20);
    Some(total.min(limit))
}

/// The least that a control group around this process lets it use, in bytes; none where nothing
/// limits it.
pub fn memory_limit_bytes() -> Option<u64> {
    least_limit(&read("/proc/self/cgroup")?, read)
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The machine's memory as `/proc/meminfo` gives it.
fn total_memory_mib(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// The least limit of the groups that `/proc/self/cgroup` names and of those around them. Inside a
/// container the outer part of a name may be missing below `/sys/fs/cgroup`: what is there counts.
///
/// Forms: [control groups](https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files)
/// and [the memory controller of version 1](https://docs.kernel.org/admin-guide/cgroup-v1/memory.html).
fn least_limit(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| {
            let (_number, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let of_version_1 = controllers.split(',').any(|it| it == "memory");
            match (of_version_1, controllers) {
                (true, _) => Some((path, "/sys/fs/cgroup/memory", "memory.limit_in_bytes")),
                (false, "") => Some((path, "/sys/fs/cgroup", "memory.max")),
                (false, _) => None,
            }
        })
        .flat_map(|(path, root, file)| {
            around(path).map(move |group| format!("{root}{group}/{file}"))
        })
        .filter_map(|file| read(&file)?.trim().parse().ok())
        .filter(|&bytes| bytes < UNLIMITED)
        .min()
}

/// A group's path and those of the groups around it; the outermost is empty.
fn around(path: &str) -> impl Iterator<Item = &str> {
    let path = path.trim_end_matches('/');
    let parents = path.match_indices('/').map(|(at, _)| path.split_at(at).0);
    parents.chain([path])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read() {
        let meminfo = "MemTotal:       24689012 kB\nMemFree:         1 kB\n";
        assert_eq!(total_memory_mib(meminfo), Some(24110));
        assert_eq!(total_memory_mib("MemFree: 1 kB"), None);
    }

    /// What is found where the files are these.
    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        least_limit(groups, |path| {
            let file = files.iter().find(|(name, _)| *name == path)?;
            Some(file.1.to_owned())
        })
    }

    #[test]
    fn a_containers_limit_counts_whether_or_not_it_sees_its_own_name() {
        let files = [("/sys/fs/cgroup/memory.max", "1073741824\n")];
        assert_eq!(limit("0::/\n", &files), Some(1 << 30));
        let outer = "4:cpu,memory:/kubepods/pod1\n0::/\n";
        let files = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n")];
        assert_eq!(limit(outer, &files), Some(4096));
    }

    #[test]
    fn the_least_of_the_groups_around_a_process_counts() {
        let files = [
            ("/sys/fs/cgroup/a.slice/memory.max", "2048\n"),
            ("/sys/fs/cgroup/a.slice/b.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/other/memory.max", "1\n"),
        ];
        assert_eq!(limit("0::/a.slice/b.service\n", &files), Some(2048));
    }

    #[test]
    fn no_limit_is_none() {
        let files = [("/sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(limit("0::/\n", &files), None);
        let files = [(
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        )];
        assert_eq!(limit("4:memory:/\n3:cpu:/\nnonsense\n", &files), None);
    }
}
