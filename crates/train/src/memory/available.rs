//! The memory that this process may still take, as Linux or a GPU's driver tells it.

use std::{fs, path::Path};

use candle_core::{Device, DeviceLocation};
use kernels::gpu;

use super::Bytes;

/// Memory that training on `device` may still take. `None` where nobody tells.
pub fn available(device: &Device) -> Option<Bytes> {
    match (device.location(), gpu::find()) {
        (DeviceLocation::Cuda { gpu_id }, gpu::Found::Some(gpus)) => {
            let [_all, free] = gpus.get(gpu_id)?.as_ref().ok()?.memory;
            Some(Bytes(free))
        }
        _ => of_process(),
    }
}

/// Memory that a process can take without making the system swap, within the limits of its
/// control groups. `None` where the system does not tell: on anything but Linux.
fn of_process() -> Option<Bytes> {
    let system = in_system(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = within_groups(Path::new("/sys/fs/cgroup"), &groups);
    Some(Bytes(limit.map_or(system, |limit| limit.min(system))))
}

/// Bytes available, from the text of `/proc/meminfo`.
fn in_system(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// What the control groups of a process leave, those above its own included; `None` if none limits
/// it. `groups` is the text of `/proc/self/cgroup`, lines of `number:controllers:path`.
fn within_groups(root: &Path, groups: &str) -> Option<u64> {
    let left = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        if controllers.is_empty() {
            return least(root, path, ["memory.max", "memory.current"], "inactive_file");
        }
        let files = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
        let memory = controllers.split(',').any(|name| name == "memory");
        memory.then(|| least(&root.join("memory"), path, files, "total_inactive_file"))?
    });
    left.min()
}

/// The least that a group or one above it leaves. In a container the path may lead nowhere, and
/// the group of the container is the root.
fn least(root: &Path, path: &str, files: [&str; 2], cache: &str) -> Option<u64> {
    let dirs = Path::new(path).ancestors().map(|part| root.join(part));
    dirs.filter_map(|dir| left(&dir, files, cache)).min()
}

/// What one group leaves: its limit less its use, where files that can be read again do not count.
fn left(dir: &Path, [limit, usage]: [&str; 2], cache: &str) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number(limit)?; // the word `max` if there is none
    let used = number(usage).unwrap_or(0);
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == cache { value.trim().parse::<u64>().ok() } else { None }
    });
    Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_available() {
        let text = "MemTotal:       24684092 kB\nMemFree:  7 kB\nMemAvailable:   23124792 kB\n";
        assert_eq!(in_system(text), Some(23_124_792 * 1024));
        assert_eq!(in_system("MemTotal:       24684092 kB\n"), None);
        if cfg!(target_os = "linux") {
            assert!(available(&Device::Cpu).unwrap().0 > 0);
        }
    }

    /// Writes the files of a group below `root`.
    fn group(root: &Path, path: &str, files: &[(&str, &str)]) {
        let dir = root.join(path);
        fs::create_dir_all(&dir).unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
    }

    #[test]
    fn the_tightest_group_counts_without_its_file_cache() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(within_groups(root, "0::/a/b\n"), None);
        group(root, "a/b", &[("memory.max", "max\n"), ("memory.current", "50\n")]);
        assert_eq!(within_groups(root, "0::/a/b\n"), None);
        let stat = ("memory.stat", "anon 7\ninactive_file 30\n");
        group(root, "a", &[("memory.max", "1000\n"), ("memory.current", "400\n"), stat]);
        assert_eq!(within_groups(root, "0::/a/b\n"), Some(1000 - 370));
        group(root, "a/b", &[("memory.max", "90\n")]);
        assert_eq!(within_groups(root, "0::/a/b\n"), Some(40));
        assert_eq!(within_groups(root, "0::/\n"), None);
    }

    #[test]
    fn groups_of_the_first_version_are_read_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let files = [("memory.limit_in_bytes", "1000\n"), ("memory.usage_in_bytes", "300\n")];
        group(dir.path(), "memory/box", &files);
        let groups = "9:name=systemd:/\n4:cpu,memory:/box\n0::/\n";
        assert_eq!(within_groups(dir.path(), groups), Some(700));
        assert_eq!(within_groups(dir.path(), "4:cpu:/box\n"), None);
    }
}
