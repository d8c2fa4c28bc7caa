//! The processor: burn-flex for the products, and passes of our own for the steps between them.

mod backward;
mod flex;
#[cfg(test)]
mod gradient_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn_flex::Flex;

use crate::bert::DeviceSteps;
use crate::device::Device;
use crate::on::On;

/// The steps as single passes.
#[derive(Debug)]
struct Passes;

impl DeviceSteps<Flex> for Passes {
    const NAME: &'static str = "flex";
    const BATCH_TOKENS: Option<usize> = None;
}

/// The processor.
pub fn cpu() -> Arc<dyn Device> {
    Arc::new(On::<Flex, Passes>::new(Default::default()))
}
