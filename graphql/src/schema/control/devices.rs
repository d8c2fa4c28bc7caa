//! `devices`: what jobs can run on.

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, Object, TypeRef};
use engine::{Error, Role};
use kernels::Device;
use kernels::device::{DeviceFacts, Devices};

use super::super::resolve::{nullable, objects, part, state};
use super::super::scalars;
use super::big;

/// `Devices`, `Device`.
pub(crate) fn types() -> [Object; 2] {
    let devices = Object::new("Devices")
        .description("What jobs can run on.")
        .field(objects("found", TypeRef::named_nn_list_nn("Device"), |d: &Devices| d.found.clone()))
        .field(
            part("cudaAbsent", TypeRef::named(TypeRef::STRING), |d: &Devices| {
                Ok(d.cuda_absent.as_ref().map_or(Value::Null, |why| why.as_str().into()))
            })
            .description("Why no CUDA device can be used, if so."),
        );
    let device = Object::new("Device")
        .description("The processor, or a GPU.")
        .field(part("name", TypeRef::named_nn(TypeRef::STRING), |d: &DeviceFacts| {
            Ok(d.device.to_string().into())
        }))
        .field(part("isGpu", TypeRef::named_nn(TypeRef::BOOLEAN), |d: &DeviceFacts| {
            Ok((d.device != Device::Cpu).into())
        }))
        .field(part("memoryBytes", TypeRef::named(scalars::BIG_INT), |d: &DeviceFacts| {
            Ok(d.memory_bytes.map_or(Value::Null, big))
        }))
        .field(part("details", TypeRef::named_nn(scalars::JSON), |d: &DeviceFacts| {
            let details =
                d.details.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into()));
            super::json(serde_json::Value::Object(details.collect()))
        }));
    [devices, device]
}

/// The query field `devices`.
pub(crate) fn devices_field() -> Field {
    Field::new("devices", TypeRef::named("Devices"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            state(inner)?.who(Role::Reader)?;
            // It asks the driver, which may take its time.
            let devices = tokio::task::spawn_blocking(kernels::devices)
                .await
                .map_err(|error| Error::internal(format!("listing devices: {error}")))?;
            Ok(Some(FieldValue::owned_any(devices)))
        })
    })
    .description("What jobs can run on.")
}
