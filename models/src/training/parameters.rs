//! Weights in training: on the host, by name, in the network's order. A network is made of them for every step and every
//! thread; what is held here is all that a checkpoint has to keep.

use std::collections::BTreeMap;

use burn::module::{Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::bert::{Bert, BertConfig, Part, PartSource, numbers};
use crate::error::{Error, Result};

/// The names of the head's tensors.
pub(super) const HEAD_WEIGHT: &str = "head.weight";
pub(super) const HEAD_BIAS: &str = "head.bias";

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
    /// Whether steps change it.
    pub is_trained: bool,
}

impl Parameter {
    /// Matrices lose weight, biases and norms do not.
    pub fn decays(&self) -> bool {
        self.shape.len() == 2
    }
}

/// The tensors of `network`.
pub(super) fn parameters_of<B: Backend>(
    network: &Bert<B>,
    is_trained: impl Fn(&str) -> bool,
) -> Result<Vec<Parameter>> {
    let one = |(name, part): (String, Part<'_, B>)| {
        let (shape, values) = match part {
            Part::Matrix(param) => (param.dims().to_vec(), numbers(param.val())?),
            Part::Vector(param) => (param.dims().to_vec(), numbers(param.val())?),
        };
        Ok(Parameter { is_trained: is_trained(&name), name, shape, values })
    };
    network.parts().into_iter().map(one).collect()
}

/// The same network on another device, or by another backend; without adapters.
pub(crate) fn moved<B: Backend, C: Backend>(
    network: &Bert<B>,
    config: &BertConfig,
    device: &C::Device,
) -> Result<Bert<C>> {
    let held = Held::new(&parameters_of(network, |_| false)?, None, device)?;
    Bert::assemble(config, &mut Plain(&held))
}

/// Tensors on the device, from which networks are made without copying them.
#[derive(Clone, Debug)]
pub(super) struct Held<B: Backend> {
    tensors: BTreeMap<String, (HeldTensor<B>, bool)>,
    adapters: Option<(usize, f64)>,
}

#[derive(Clone, Debug)]
enum HeldTensor<B: Backend> {
    Matrix(Tensor<B, 2>),
    Vector(Tensor<B, 1>),
}

impl<B: Backend> Held<B> {
    /// Puts all of `parameters` onto the device.
    pub fn new(
        parameters: &[Parameter],
        adapters: Option<(usize, f64)>,
        device: &B::Device,
    ) -> Result<Self> {
        let mut held = Self { tensors: BTreeMap::new(), adapters };
        parameters.iter().try_for_each(|parameter| held.put(parameter, device))?;
        Ok(held)
    }

    /// Puts a tensor in the place of the one of its name.
    pub fn put(&mut self, parameter: &Parameter, device: &B::Device) -> Result<()> {
        let data = TensorData::new(parameter.values.clone(), parameter.shape.clone());
        let tensor = match parameter.shape.len() {
            1 => HeldTensor::Vector(Tensor::from_data(data, device)),
            2 => HeldTensor::Matrix(Tensor::from_data(data, device)),
            other => return missing(&parameter.name, &format!("{other} dimensions")),
        };
        self.tensors.insert(parameter.name.clone(), (tensor, parameter.is_trained));
        Ok(())
    }
}

/// Parameters as burn differentiates them, `A` the backend that does, over the one that they are held on.
pub(super) struct Leaves<'a, B: Backend>(pub &'a Held<B>);

impl<A> PartSource<A> for Leaves<'_, A::InnerBackend>
where
    A: burn::tensor::backend::AutodiffBackend,
{
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Param<Tensor<A, 2>>> {
        match self.0.tensors.get(name) {
            Some((HeldTensor::Matrix(tensor), is_trained)) if tensor.dims() == shape => {
                let leaf = Tensor::from_inner(tensor.clone()).set_require_grad(*is_trained);
                Ok(Param::initialized(ParamId::new(), leaf))
            }
            _ => missing(name, &format!("shape {shape:?}")),
        }
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Param<Tensor<A, 1>>> {
        match self.0.tensors.get(name) {
            Some((HeldTensor::Vector(tensor), is_trained)) if tensor.dims() == [length] => {
                let leaf = Tensor::from_inner(tensor.clone()).set_require_grad(*is_trained);
                Ok(Param::initialized(ParamId::new(), leaf))
            }
            _ => missing(name, &format!("length {length}")),
        }
    }

    fn adapters(&self) -> Option<(usize, f64)> {
        self.0.adapters
    }
}

/// Parameters as they are.
pub(super) struct Plain<'a, B: Backend>(pub &'a Held<B>);

impl<B: Backend> PartSource<B> for Plain<'_, B> {
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Param<Tensor<B, 2>>> {
        match self.0.tensors.get(name) {
            Some((HeldTensor::Matrix(tensor), _)) if tensor.dims() == shape => {
                Ok(Param::initialized(ParamId::new(), tensor.clone()))
            }
            _ => missing(name, &format!("shape {shape:?}")),
        }
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Param<Tensor<B, 1>>> {
        match self.0.tensors.get(name) {
            Some((HeldTensor::Vector(tensor), _)) if tensor.dims() == [length] => {
                Ok(Param::initialized(ParamId::new(), tensor.clone()))
            }
            _ => missing(name, &format!("length {length}")),
        }
    }

    fn adapters(&self) -> Option<(usize, f64)> {
        self.0.adapters
    }
}

fn missing<T>(name: &str, expected: &str) -> Result<T> {
    let problem = format!("tensor {name}: expected one of {expected}, found none or another");
    Err(Error::Training { problem })
}
