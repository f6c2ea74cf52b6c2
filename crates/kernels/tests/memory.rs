//! What is freed is used again. Alone in its process, because it counts the page faults of all.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::hint::black_box;

/// Page faults of this process that needed no reading.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a process has its statistics");
    let faults = stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(7));
    faults.and_then(|faults| faults.parse().ok()).expect("a number in the tenth field")
}

/// Writes to blocks as a step of training does, frees them, and returns the page faults.
fn step() -> u64 {
    let before = faults();
    let blocks: Vec<Vec<u8>> = (1..6).map(|i| vec![1; i * (3 << 20)]).collect();
    black_box(&blocks);
    drop(blocks);
    faults() - before
}

#[test]
fn freed_memory_is_used_again_without_page_faults() {
    assert!(kernels::memory::keep_freed());
    // On the thread of the test the heap is cut into parts of 64 MiB, which the blocks fit in.
    let (first, later) = (step(), step());
    assert!(10 * later <= first, "{first} page faults, then {later} in memory that is there");
}
