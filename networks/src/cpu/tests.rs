//! The passes of the processor against burn's operations.

#![allow(clippy::unwrap_used)]
use burn_flex::Flex;
use burn_tensor::{Distribution, Tensor};

use super::Passes;
use crate::bert::{Batch, NormParts, Steps, add_norm, bias_gelu, self_attention};

fn assert_close<const D: usize>(what: &str, found: Tensor<Flex, D>, expected: Tensor<Flex, D>) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let most = (found - expected).abs().max().into_scalar();
    assert!(most < 2e-5, "{what}: off by {most}");
}

#[test]
fn the_steps_of_the_processor_are_those_of_burn() {
    let device = Default::default();
    let random = |shape: [usize; 2]| {
        Tensor::<Flex, 2>::random(shape, Distribution::Uniform(-3.0, 3.0), &device)
    };
    let vector = |size: usize| random([1, size]).squeeze_dim::<1>(0);
    for (tokens, size) in [(1, 1), (3, 16), (9, 37), (20, 384)] {
        let (x, bias, residual) = (random([tokens, size]), vector(size), random([tokens, size]));
        let own = <Passes as Steps<Flex>>::bias_gelu(x.clone(), bias.clone());
        assert_close("gelu", own, bias_gelu(x.clone(), bias.clone()));
        let norm = NormParts { gamma: vector(size), beta: vector(size), epsilon: 1e-5 };
        let own = <Passes as Steps<Flex>>::add_norm(
            x.clone(),
            bias.clone(),
            residual.clone(),
            norm.clone(),
        );
        assert_close("norm", own, add_norm(x, bias, residual, norm));
    }
    for (heads, size, lengths) in
        [(1, 1, vec![1]), (3, 6, vec![4, 17, 1, 33]), (2, 32, vec![5, 5]), (4, 20, vec![70, 2])]
    {
        let tokens: Vec<Vec<u32>> = lengths.iter().map(|length| vec![0; *length]).collect();
        let batch = Batch::new(tokens.iter().map(Vec::as_slice)).unwrap();
        let (qkv, bias) = (random([batch.tokens(), 3 * heads * size]), vector(3 * heads * size));
        let own = <Passes as Steps<Flex>>::self_attention(qkv.clone(), bias.clone(), heads, &batch);
        assert_close("attention", own, self_attention(qkv, bias, heads, &batch));
    }
}
