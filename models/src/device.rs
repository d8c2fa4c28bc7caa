//! Where encoders run and are trained: on the processor, or on a CUDA device. A model is loaded on the processor and moved to
//! the device for a piece of work; what training made of it is numbers on the host.
//!
//! A device is used only after it gave the vectors of some texts that the processor gives, too. What panics on the way, as
//! burn does where a driver fails, is an error. Builds without the feature `cuda` have the processor alone, and say so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use networks::Device;

use crate::embedder::Embedder;
use crate::embedding::{EmbedOptions, EmbedderId, Embeddings, TextEmbedder};
use crate::error::{Error, Result};
use crate::training::{
    ContrastiveOptions, Estimate, Examples, FineTuneOptions, Grouped, Pairs, TrainCall, Trained,
    TrainedEncoder, estimate, estimate_classes, estimate_pairs, fine_tune, fine_tune_classes,
    fine_tune_pairs,
};

/// The least cosine of a device's vector and the processor's. bfloat16 would give 0.999, a wrong kernel anything.
const COSINE_MIN: f64 = 0.9999;

/// Why a build has no encoders for CUDA devices; none in one that has.
pub const CUDA_ENCODERS_ABSENT: Option<&str> = match cfg!(feature = "cuda") {
    true => None,
    false => Some(
        "this build has no CUDA encoders: build with `--features cuda-encoders`, as `make release` does, and `make demo` where \
         it finds a driver",
    ),
};

/// Where an encoder works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncoderDevice {
    /// The processor.
    #[default]
    Cpu,
    /// A CUDA device, by its number.
    Cuda(usize),
}

/// An embedder that works on `device`. Fails where the device can't be used, or gives other vectors than the processor.
pub fn embedder_on(
    device: EncoderDevice,
    encoder: &Arc<Embedder>,
) -> Result<Arc<dyn TextEmbedder>> {
    match device {
        EncoderDevice::Cpu => Ok(encoder.clone()),
        EncoderDevice::Cuda(ordinal) => guarded(|| {
            let moved = Guarded(encoder.moved(cuda(ordinal)?)?);
            check(encoder.as_ref(), &moved)?;
            Ok(Arc::new(moved) as Arc<dyn TextEmbedder>)
        }),
    }
}

/// [`fine_tune`] on `device`.
pub fn fine_tune_on(
    device: EncoderDevice,
    encoder: &Embedder,
    count: usize,
    train: Examples<'_>,
    validation: Examples<'_>,
    call: TrainCall<'_, FineTuneOptions>,
) -> Result<Trained> {
    on(device, encoder, |encoder| fine_tune(encoder, count, train, validation, call))
}

/// [`fine_tune_pairs`] on `device`.
pub fn fine_tune_pairs_on(
    device: EncoderDevice,
    encoder: &Embedder,
    pairs: Pairs<'_>,
    validation: Grouped<'_>,
    call: TrainCall<'_, ContrastiveOptions>,
) -> Result<TrainedEncoder> {
    on(device, encoder, |encoder| fine_tune_pairs(encoder, pairs, validation, call))
}

/// [`fine_tune_classes`] on `device`.
pub fn fine_tune_classes_on(
    device: EncoderDevice,
    encoder: &Embedder,
    train: Examples<'_>,
    validation: Examples<'_>,
    windows: usize,
    call: TrainCall<'_, ContrastiveOptions>,
) -> Result<TrainedEncoder> {
    on(device, encoder, |encoder| fine_tune_classes(encoder, train, validation, windows, call))
}

/// [`estimate`] of training on `device`.
pub fn estimate_on(
    device: EncoderDevice,
    encoder: &Embedder,
    count: usize,
    train: Examples<'_>,
    options: &FineTuneOptions,
) -> Result<Estimate> {
    on(device, encoder, |encoder| estimate(encoder, count, train, options))
}

/// [`estimate_classes`] of training on `device`.
pub fn estimate_classes_on(
    device: EncoderDevice,
    encoder: &Embedder,
    train: Examples<'_>,
    windows: usize,
    options: &ContrastiveOptions,
) -> Result<Estimate> {
    on(device, encoder, |encoder| estimate_classes(encoder, train, windows, options))
}

/// [`estimate_pairs`] of training on `device`.
pub fn estimate_pairs_on(
    device: EncoderDevice,
    encoder: &Embedder,
    pairs: Pairs<'_>,
    options: &ContrastiveOptions,
) -> Result<Estimate> {
    on(device, encoder, |encoder| estimate_pairs(encoder, pairs, options))
}

/// Does `work` with the encoder on a device; what panics on a CUDA device is an error.
fn on<T>(
    device: EncoderDevice,
    encoder: &Embedder,
    work: impl FnOnce(&Embedder) -> Result<T>,
) -> Result<T> {
    match device {
        EncoderDevice::Cpu => work(encoder),
        EncoderDevice::Cuda(ordinal) => guarded(|| work(&encoder.moved(cuda(ordinal)?)?)),
    }
}

/// The CUDA device of a number.
#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Result<Arc<dyn Device>> {
    Ok(networks_cuda::cuda(ordinal))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Arc<dyn Device>> {
    Err(Error::Device { problem: CUDA_ENCODERS_ABSENT.unwrap_or_default().to_owned() })
}

/// An embedder whose panics are errors.
#[derive(Debug)]
struct Guarded(Embedder);

impl TextEmbedder for Guarded {
    fn id(&self) -> &EmbedderId {
        self.0.id()
    }

    fn dimension(&self) -> usize {
        self.0.dimension()
    }

    fn embed(&self, texts: &[&str], options: &EmbedOptions<'_>) -> Result<Embeddings> {
        guarded(|| self.0.embed(texts, options))
    }
}

/// Texts of all lengths from one word to more than a model reads.
fn probes() -> Vec<String> {
    let words = ["card", "the", "lost", "payment", "on", "Monday", "twice", "was", "I", "refund"];
    let text = |text: usize| -> String {
        (0..=text * text / 3)
            .map(|w| words[(3 * text + w * w + w / 7) % 10].to_owned() + " ")
            .collect()
    };
    (0..36).map(text).collect()
}

/// Fails where two embedders do not give the same vectors.
fn check(expected: &dyn TextEmbedder, found: &dyn TextEmbedder) -> Result<()> {
    let probes = probes();
    let texts: Vec<&str> = probes.iter().map(String::as_str).collect();
    let embed = |embedder: &dyn TextEmbedder| embedder.embed(&texts, &EmbedOptions::default());
    let (expected, found) = (embed(expected)?, embed(found)?);
    let cosine = |(a, b): (&[f32], &[f32])| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let cosines = expected.rows().zip(found.rows()).map(cosine);
    // A NaN is the least.
    let least = cosines.fold(1.0, |least, cosine| if cosine >= least { least } else { cosine });
    match least >= COSINE_MIN {
        true => Ok(()),
        false => Err(Error::Device {
            problem: format!(
                "expected the vectors that the processor gives, found such with a cosine of {least:.6} to them"
            ),
        }),
    }
}

/// What panics is an error of the device.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::Device { problem: said.unwrap_or("a panic without a word").to_owned() })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use networks::{Pooling, cpu};

    use super::*;
    use crate::embedder::tests::load;
    use crate::encoder::{tiny_config, tiny_weights};
    use crate::tokens::tests::tokenizer_bytes;

    fn tiny(seed: u64) -> Embedder {
        let config = tiny_config(Pooling::Mean);
        load(&config, &tiny_weights(&config, seed), Some(&tokenizer_bytes())).unwrap()
    }

    #[test]
    fn an_embedder_that_was_moved_gives_the_same_vectors() {
        let embedder = tiny(1);
        let moved = embedder.moved(cpu()).unwrap();
        assert_eq!(moved.id(), embedder.id());
        let texts = ["my card is lost", "a", ""];
        let of =
            |embedder: &Embedder| embedder.embed(&texts, &EmbedOptions::default()).unwrap().values;
        assert_eq!(of(&moved), of(&embedder));
    }

    #[test]
    fn a_device_that_gives_other_vectors_is_refused() {
        let embedder = tiny(1);
        assert_eq!(check(&embedder, &embedder.moved(cpu()).unwrap()), Ok(()));
        let error = check(&embedder, &tiny(2)).unwrap_err().to_string();
        assert!(
            error.starts_with("device: expected the vectors that the processor gives"),
            "{error}"
        );
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_encoders_says_so_and_how_to_get_one() {
        let error = embedder_on(EncoderDevice::Cuda(0), &Arc::new(tiny(1))).unwrap_err();
        let says = error.to_string();
        assert!(says.contains("no CUDA encoders") && says.contains("cuda-encoders"), "{says}");
    }

    #[test]
    #[cfg(feature = "cuda")]
    fn a_device_that_is_not_there_is_an_error_and_no_panic() {
        // Far above any number of devices; without a driver there is not even the first.
        let error = embedder_on(EncoderDevice::Cuda(1 << 20), &Arc::new(tiny(1))).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{error}");
    }

    #[test]
    fn a_panic_is_an_error_with_what_it_said() {
        let said = |panic: fn()| {
            guarded::<()>(|| {
                panic();
                Ok(())
            })
        };
        let error = |problem: &str| Err(Error::Device { problem: problem.into() });
        assert_eq!(said(|| panic!("no driver")), error("no driver"));
        assert_eq!(said(|| panic!("driver {}", 1)), error("driver 1"));
        assert_eq!(said(|| std::panic::panic_any(1)), error("a panic without a word"));
    }
}
