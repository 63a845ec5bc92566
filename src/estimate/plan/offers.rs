//! Offers from the catalog.

use super::Offer;
use crate::catalog::{Catalog, GpuModel, Instance};
use crate::error::Result;
use crate::estimate::cost::{Price, offered, power};
use crate::estimate::fit::Room;
use crate::estimate::memory::Overheads;
use crate::estimate::time::Speeds;
use crate::units::{Bytes, BytesPerSecond};

impl Offer {
    /// A GPU at a price that the user gives, in machines of so many, joined by a network of the usual rate where none is given.
    pub fn given(catalog: &Catalog, gpu: &GpuModel, price: Price, machine: u64, network: Option<BytesPerSecond>) -> Self {
        Self {
            gpu: gpu.short_name.clone(),
            price,
            machine,
            unit: 1,
            joined: true,
            network,
            host: None,
            room: Room::of(gpu),
            overheads: Overheads::prior(Some(gpu)),
            speeds: Speeds::assumed(gpu, catalog, network),
            power: Some(power(gpu, None)),
        }
    }

    /// An instance at the catalog's price, rented whole. `network` is the rate per GPU where it is not the instance's own; where neither is
    /// known, machines are not joined.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) for an instance whose GPU is not in the catalog.
    pub fn of_instance(catalog: &Catalog, instance: &Instance, network: Option<BytesPerSecond>) -> Result<Self> {
        let gpu = catalog.gpu_of(instance)?;
        let gpus = u64::from(instance.gpus);
        let own = instance.network().map(|network| BytesPerSecond(network.value.0 / gpus as f64)).filter(|rate| rate.0 > 0.0);
        let network = network.or(own);
        let host: Option<Bytes> = instance.memory().map(|memory| memory.value).filter(|memory| memory.0 > 0);
        Ok(Self { unit: gpus, joined: network.is_some(), host, ..Self::given(catalog, gpu, Price::of_instance(instance), gpus, network) })
    }

    /// The cheapest of today's entries for `gpu`, of each size of machine; by the hour, or with `spot` those that may be taken back.
    ///
    /// # Errors
    /// As [`Self::of_instance`].
    pub fn usual(catalog: &Catalog, gpu: &GpuModel, spot: bool, network: Option<BytesPerSecond>) -> Result<Vec<Self>> {
        let mut cheapest: Vec<&Instance> = Vec::new();
        for instance in offered(catalog, gpu, spot) {
            match cheapest.iter_mut().find(|other| other.gpus == instance.gpus) {
                Some(other) if instance.price_per_hour().value < other.price_per_hour().value => *other = instance,
                Some(_) => {}
                None => cheapest.push(instance),
            }
        }
        cheapest.sort_by_key(|instance| instance.gpus);
        cheapest.into_iter().map(|instance| Self::of_instance(catalog, instance, network)).collect()
    }
}
