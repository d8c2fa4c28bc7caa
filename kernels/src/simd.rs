//! Compiling one piece of code for several instruction sets.
//!
//! The crate is built for the oldest processor of its architecture, because it is shipped; loops
//! that the compiler can vectorise would stay at half or a quarter of what the processor can do.

/// A loop to be compiled for several instruction sets.
///
/// A trait and not a closure, because `run` must be `#[inline(always)]`: code that is not inlined into
/// the function that names the instruction set does not get it.
pub(crate) trait Work {
    /// What it computes.
    type Output;

    /// Does it. Implementations must be `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

/// Runs `work`, compiled for the widest vectors of the processor at hand.
///
/// Products and sums are never contracted, so the result has the same bits on every instruction set.
#[inline]
#[allow(unsafe_code)]
pub(crate) fn vectorised<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,popcnt,lzcnt")]
        unsafe fn wide<W: Work>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
        unsafe fn middle<W: Work>(work: W) -> W::Output {
            work.run()
        }
        match level() {
            // SAFETY: the features were detected.
            Level::Avx512 => return unsafe { wide(work) },
            // SAFETY: the features were detected.
            Level::Avx2 => return unsafe { middle(work) },
            Level::Portable => {}
        }
    }
    work.run()
}

/// Instruction sets that code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// AVX-512 F, BW, DQ, VL, and BMI2.
    Avx512,
    /// AVX2 and BMI2.
    Avx2,
    /// Whatever the build was for.
    Portable,
}

/// The widest level that the processor at hand has.
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let bits = is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("lzcnt");
        if bits
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            return Level::Avx512;
        }
        if bits && is_x86_feature_detected!("avx2") {
            return Level::Avx2;
        }
    }
    Level::Portable
}
