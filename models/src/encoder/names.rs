//! What the tensors of an encoder are called in published files, and what the same are called in the network.

/// What a part of a layer is made of, under its published names.
pub enum Part {
    /// Products of `[out, in]` each; beside each other they are one here, `[in, all outs]`.
    Products(&'static [&'static str]),
    /// A normalisation: `weight` is `gamma` here, `bias` is `beta`.
    Norm(&'static str),
}

/// The parts of a layer, in the network's order. Published, `encoder.layer.0.` stands before them; here, `layer.0.`.
pub const LAYER: [(&str, Part); 6] = [
    (
        "qkv",
        Part::Products(&["attention.self.query", "attention.self.key", "attention.self.value"]),
    ),
    ("attended", Part::Products(&["attention.output.dense"])),
    ("attention_norm", Part::Norm("attention.output.LayerNorm")),
    ("up", Part::Products(&["intermediate.dense"])),
    ("down", Part::Products(&["output.dense"])),
    ("norm", Part::Norm("output.LayerNorm")),
];

/// The tables of vectors that stand before the layers.
pub const WORDS: (&str, &str) = ("words", "embeddings.word_embeddings.weight");
pub const POSITIONS: (&str, &str) = ("positions", "embeddings.position_embeddings.weight");
pub const SEGMENTS: (&str, &str) = ("segments", "embeddings.token_type_embeddings.weight");

/// The normalisation of their sum.
pub const NORM: (&str, &str) = ("norm", "embeddings.LayerNorm");
