//! The face for a backend of burn. This is the one place where generic code meets a trait object: a backend's crate makes
//! one [`On`] of it, and all that burn instantiates for it is compiled there.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use burn_autodiff::Autodiff;
use burn_tensor::activation::log_softmax;
use burn_tensor::backend::{AutodiffBackend, Backend};
use burn_tensor::{DType, DataError, Tensor, TensorData};

use crate::bert::{Batch, Bert, BertConfig, DeviceSteps, Part, PartSource, Pooling, Steps};
use crate::device::{Adapters, Device, Learner, Matrix, Network, Parameter, Pass};
use crate::error::{Error, Result};

/// A device of the backend `B`, where the steps are done as `S` does them.
#[derive(Debug)]
pub struct On<B: Backend, S> {
    device: B::Device,
    steps: PhantomData<S>,
}

impl<B: Backend, S> On<B, S> {
    /// The device of a backend.
    pub fn new(device: B::Device) -> Self {
        Self { device, steps: PhantomData }
    }
}

impl<B: Backend, S: DeviceSteps<B>> Device for On<B, S>
where
    Autodiff<B>: AutodiffBackend<InnerBackend = B, Device = B::Device>,
{
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn batch_tokens(&self) -> Option<usize> {
        S::BATCH_TOKENS
    }

    fn network(&self, config: &BertConfig, weights: Vec<Parameter>) -> Result<Box<dyn Network>> {
        let held = Held::<B>::new(weights, None, &self.device)?;
        Answering::<B, S>::boxed(Bert::assemble(config, &mut Plain(&held))?)
    }

    fn learner(
        &self,
        config: &BertConfig,
        weights: Vec<Parameter>,
        adapters: Option<Adapters>,
    ) -> Result<Box<dyn Learner>> {
        let held = Held::<B>::new(weights, adapters, &self.device)?;
        let (config, device) = (config.clone(), self.device.clone());
        Ok(Box::new(Learning::<B, S> { config, held, device, steps: PhantomData }))
    }

    fn matrix(&self, values: Vec<f32>, columns: usize) -> Box<dyn Matrix> {
        Box::new(Rows::<B>(rows(values, columns, &self.device)))
    }
}

/// A network that answers.
#[derive(Debug)]
struct Answering<B: Backend, S> {
    network: Bert<B>,
    steps: PhantomData<S>,
}

impl<B: Backend, S: Steps<B>> Answering<B, S> {
    fn boxed(network: Bert<B>) -> Result<Box<dyn Network>> {
        Ok(Box::new(Self { network, steps: PhantomData }))
    }
}

impl<B: Backend, S: Steps<B>> Network for Answering<B, S> {
    fn embed(&self, batch: &Batch, pooling: Pooling) -> Result<Vec<f32>> {
        numbers(self.network.embed::<S>(batch, pooling)?)
    }

    fn parameters(&self) -> Result<Vec<Parameter>> {
        let one = |(name, part): (String, Part<'_, B>)| {
            let (shape, values) = match part {
                Part::Matrix(tensor) => (tensor.dims().to_vec(), numbers(tensor.clone())?),
                Part::Vector(tensor) => (tensor.dims().to_vec(), numbers(tensor.clone())?),
            };
            Ok(Parameter { is_trained: false, name, shape, values })
        };
        self.network.parts().into_iter().map(one).collect()
    }
}

/// A network in training: its tensors on the device, of which a network is made for every step and every thread without
/// copying them.
struct Learning<B: Backend, S> {
    config: BertConfig,
    held: Held<B>,
    device: B::Device,
    steps: PhantomData<S>,
}

impl<B: Backend, S: DeviceSteps<B>> Learner for Learning<B, S>
where
    Autodiff<B>: AutodiffBackend<InnerBackend = B, Device = B::Device>,
{
    fn put(&mut self, parameter: Parameter) -> Result<()> {
        self.held.put(parameter, &self.device)
    }

    fn network(&self) -> Result<Box<dyn Network>> {
        Answering::<B, S>::boxed(Bert::assemble(&self.config, &mut Plain(&self.held))?)
    }

    fn merged(&self) -> Result<Box<dyn Network>> {
        let network: Bert<B> = Bert::assemble(&self.config, &mut Plain(&self.held))?;
        Answering::<B, S>::boxed(network.merged())
    }

    fn forward(&self, batch: &Batch, pooling: Pooling) -> Result<Box<dyn Pass>> {
        let network: Bert<Autodiff<B>> = Bert::assemble(&self.config, &mut Leaves(&self.held))?;
        let vectors = network.embed::<S>(batch, pooling)?;
        Ok(Box::new(Forward { network, vectors, device: self.device.clone() }))
    }

    fn cross_entropy(
        &self,
        batch: &Batch,
        pooling: Pooling,
        [weight, bias]: [&str; 2],
        targets: Vec<f32>,
    ) -> Result<(f64, Vec<Vec<f32>>)> {
        let count = targets.len() / batch.texts();
        let mut leaves = Leaves(&self.held);
        let network: Bert<Autodiff<B>> = Bert::assemble(&self.config, &mut leaves)?;
        let of_weight: Tensor<Autodiff<B>, 2> =
            leaves.matrix(weight, [self.config.hidden_size, count])?;
        let of_bias: Tensor<Autodiff<B>, 1> = leaves.vector(bias, count)?;
        let vectors = network.embed::<S>(batch, pooling)?;
        let logits = vectors.matmul(of_weight.clone()) + of_bias.clone().unsqueeze();
        let targets = rows(targets, count, &self.device);
        let loss: Tensor<Autodiff<B>, 1> = (log_softmax(logits, 1) * targets).sum().neg();
        let value = numbers(loss.clone().inner())?;
        let mut parts = network.parts();
        parts.push((weight.to_owned(), Part::Matrix(&of_weight)));
        parts.push((bias.to_owned(), Part::Vector(&of_bias)));
        let gradients = gradients_of(loss, parts)?;
        Ok((value.first().map_or(f64::NAN, |loss| f64::from(*loss)), gradients))
    }
}

/// A way through the network.
struct Forward<B: Backend>
where
    Autodiff<B>: AutodiffBackend<InnerBackend = B, Device = B::Device>,
{
    network: Bert<Autodiff<B>>,
    vectors: Tensor<Autodiff<B>, 2>,
    device: B::Device,
}

impl<B: Backend> Pass for Forward<B>
where
    Autodiff<B>: AutodiffBackend<InnerBackend = B, Device = B::Device>,
{
    fn vectors(&self) -> Result<Vec<f32>> {
        numbers(self.vectors.clone().inner())
    }

    fn backward(self: Box<Self>, gradient: Vec<f32>) -> Result<Vec<Vec<f32>>> {
        let [_, size] = self.vectors.dims();
        let gradient = rows(gradient, size, &self.device);
        gradients_of((self.vectors * gradient).sum(), self.network.parts())
    }
}

/// What becomes of `loss` with each of those of `parts` that are trained.
fn gradients_of<A: AutodiffBackend>(
    loss: Tensor<A, 1>,
    parts: Vec<(String, Part<'_, A>)>,
) -> Result<Vec<Vec<f32>>> {
    let mut gradients = loss.backward();
    let mut answer = Vec::new();
    for (name, part) in parts {
        let lost = || Error::Training {
            problem: format!("tensor {name}: expected a gradient, found none"),
        };
        answer.push(match part {
            Part::Matrix(tensor) if tensor.is_require_grad() => {
                numbers(tensor.grad_remove(&mut gradients).ok_or_else(lost)?)?
            }
            Part::Vector(tensor) if tensor.is_require_grad() => {
                numbers(tensor.grad_remove(&mut gradients).ok_or_else(lost)?)?
            }
            _ => continue,
        });
    }
    Ok(answer)
}

/// Tensors on the device, by name.
#[derive(Debug)]
struct Held<B: Backend> {
    tensors: BTreeMap<String, (HeldTensor<B>, bool)>,
    adapters: Option<Adapters>,
}

#[derive(Debug)]
enum HeldTensor<B: Backend> {
    Matrix(Tensor<B, 2>),
    Vector(Tensor<B, 1>),
}

impl<B: Backend> Held<B> {
    fn new(
        weights: Vec<Parameter>,
        adapters: Option<Adapters>,
        device: &B::Device,
    ) -> Result<Self> {
        let mut held = Self { tensors: BTreeMap::new(), adapters };
        weights.into_iter().try_for_each(|parameter| held.put(parameter, device))?;
        Ok(held)
    }

    fn put(&mut self, parameter: Parameter, device: &B::Device) -> Result<()> {
        let Parameter { name, shape, values, is_trained } = parameter;
        let count = shape.iter().product::<usize>();
        if values.len() != count {
            return missing(&name, &format!("{count} numbers"));
        }
        let data = TensorData::new(values, shape.clone());
        let tensor = match shape.len() {
            1 => HeldTensor::Vector(Tensor::from_data(data, device)),
            2 => HeldTensor::Matrix(Tensor::from_data(data, device)),
            other => return missing(&name, &format!("1 or 2 dimensions, not {other}")),
        };
        self.tensors.insert(name, (tensor, is_trained));
        Ok(())
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<(Tensor<B, 2>, bool)> {
        match self.tensors.get(name) {
            Some((HeldTensor::Matrix(tensor), is_trained)) if tensor.dims() == shape => {
                Ok((tensor.clone(), *is_trained))
            }
            _ => missing(name, &format!("shape {shape:?}")),
        }
    }

    fn vector(&self, name: &str, length: usize) -> Result<(Tensor<B, 1>, bool)> {
        match self.tensors.get(name) {
            Some((HeldTensor::Vector(tensor), is_trained)) if tensor.dims() == [length] => {
                Ok((tensor.clone(), *is_trained))
            }
            _ => missing(name, &format!("length {length}")),
        }
    }
}

/// Tensors as burn differentiates them, `A` the backend that does, over the one that they are held on.
struct Leaves<'a, B: Backend>(&'a Held<B>);

impl<A: AutodiffBackend> PartSource<A> for Leaves<'_, A::InnerBackend> {
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<A, 2>> {
        let (tensor, is_trained) = self.0.matrix(name, shape)?;
        Ok(Tensor::from_inner(tensor).set_require_grad(is_trained))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<A, 1>> {
        let (tensor, is_trained) = self.0.vector(name, length)?;
        Ok(Tensor::from_inner(tensor).set_require_grad(is_trained))
    }

    fn adapters(&self) -> Option<Adapters> {
        self.0.adapters
    }
}

/// Tensors as they are.
struct Plain<'a, B: Backend>(&'a Held<B>);

impl<B: Backend> PartSource<B> for Plain<'_, B> {
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<B, 2>> {
        Ok(self.0.matrix(name, shape)?.0)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<B, 1>> {
        Ok(self.0.vector(name, length)?.0)
    }

    fn adapters(&self) -> Option<Adapters> {
        self.0.adapters
    }
}

fn missing<T>(name: &str, expected: &str) -> Result<T> {
    let problem = format!("tensor {name}: expected one of {expected}, found none or another");
    Err(Error::Training { problem })
}

/// A matrix.
struct Rows<B: Backend>(Tensor<B, 2>);

impl<B: Backend> Matrix for Rows<B> {
    fn times(&self, right: &[f32], width: usize) -> Result<Vec<f32>> {
        numbers(self.0.clone().matmul(rows(right.to_vec(), width, &self.0.device())))
    }

    fn turned_times(&self, right: &[f32], width: usize) -> Result<Vec<f32>> {
        numbers(self.0.clone().transpose().matmul(rows(right.to_vec(), width, &self.0.device())))
    }

    fn times_turned(&self, right: &[f32]) -> Result<Vec<f32>> {
        let [_, columns] = self.0.dims();
        let right: Tensor<B, 2> = rows(right.to_vec(), columns, &self.0.device());
        numbers(self.0.clone().matmul(right.transpose()))
    }
}

/// Numbers as a matrix of so many columns.
pub(crate) fn rows<B: Backend>(
    values: Vec<f32>,
    columns: usize,
    device: &B::Device,
) -> Tensor<B, 2> {
    let shape = [values.len() / columns.max(1), columns];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The numbers of a tensor on the host, row by row.
pub(crate) fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    let data = tensor.into_data().convert_dtype(DType::F32);
    data.into_vec()
        .map_err(|e: DataError| Error::Config { problem: format!("answer of the device: {e:?}") })
}
