//! What a device must do whatever the operation.

#![allow(clippy::unwrap_used, clippy::panic)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use super::backend::Backend;
use super::driver::Gpu;
use crate::rolling::SOURCE;
use crate::testing::{Check, check_all};

/// What a device must pass.
pub(crate) const DEVICE: &[Check] = &[Check::new("driver: large downloads", || {
    let (_, devices) = Gpu::open_all(&SOURCE).unwrap();
    devices.iter().for_each(large_downloads_are_whole);
})];

#[test]
fn the_device_downloads() {
    check_all(DEVICE);
}

/// Of some pieces, the last of them short, from an odd place, and again by what is kept of the first.
fn large_downloads_are_whole<B: Backend>(device: &B) {
    let bytes = (40 << 20) + 13;
    let data: Vec<u8> =
        (0..bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for offset in [0, 5, 4_096] {
        let mut buffer = device.allocate("driver", bytes + offset).unwrap();
        device.upload(&mut buffer, offset, &data).unwrap();
        let mut found = vec![0; bytes];
        device.download(&buffer, offset, &mut found).unwrap();
        assert!(found == data, "from {offset} on");
    }
}

#[test]
fn the_emulation_downloads() {
    large_downloads_are_whole(&super::emulated::Emulated::new(&SOURCE, 1 << 30));
}
