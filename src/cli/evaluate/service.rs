//! A model that answers an evaluation's requests, in this process.

use std::sync::Arc;

use crate::cli::{Failure, load};
use crate::config::{Limits, ModelSetting, Settings};
use crate::engine::{self, Device};
use crate::evaluation::data::Item;
use crate::evaluation::run::{Answered, Explainer, put};
use crate::explain::{self, Catalog, ExplainItem, ExplainRequest, Plan, PlanError, ServedModel, Wanted};
use crate::models::Randomised;
use crate::tasks::TargetSpec;

/// A loaded model and how it is computed.
pub(super) struct Service {
    pub model: Arc<ServedModel>,
    catalog: Catalog,
    limits: Limits,
    threads: usize,
    tokens_per_turn: usize,
    pub device: Device,
}

impl Service {
    pub fn open(model: &ModelSetting, settings: &Settings) -> Result<Self, Failure> {
        Self::over(load::catalog(std::slice::from_ref(model), settings)?, settings)
    }

    /// The same model with random numbers in some of its weights.
    pub fn randomised(model: &ModelSetting, settings: &Settings, how: Randomised) -> Result<Self, Failure> {
        Self::over(load::randomised(model, settings, how)?, settings)
    }

    fn over(catalog: Catalog, settings: &Settings) -> Result<Self, Failure> {
        let model = catalog.iter().next().cloned();
        Ok(Self {
            model: model.ok_or_else(|| Failure::Usage("no model was loaded; name one with --model".into()))?,
            catalog,
            limits: settings.limits.clone(),
            threads: settings.compute.threads,
            tokens_per_turn: settings.compute.tokens_per_turn,
            device: engine::open_device(settings.compute.device)?,
        })
    }

    /// Sees that the first item can be asked about: a wrong method or target ends the command before its work begins.
    /// Methods that nobody named may refuse a task; the report says so.
    pub fn check(
        &self,
        items: &[Item],
        targets: &[TargetSpec],
        methods: &[ExplainItem],
        named: bool,
    ) -> Result<(), Failure> {
        let (Some(item), Some(target)) = (items.first(), targets.first()) else { return Ok(()) };
        for method in methods.iter().filter(|_| named) {
            let mut request = ExplainRequest {
                target: Some(target.clone()),
                explain: Some(vec![method.clone()]),
                ..ExplainRequest::default()
            };
            let image = put(&item.content, &mut request).map_err(|(file, error)| Failure::io(file, error))?;
            self.plan(request, image)?;
        }
        Ok(())
    }

    /// Faithfulness that cannot be had is left out.
    fn plan(&self, request: ExplainRequest, image: Option<Vec<u8>>) -> Result<Plan, PlanError> {
        let plan = |request, image| {
            let id = "evaluate".to_owned();
            explain::plan(&self.catalog, &self.limits, id, request, image, Wanted::Explanations)
        };
        if request.evaluate.is_none() {
            return plan(request, image);
        }
        match plan(request.clone(), image.clone()) {
            Err(PlanError::Invalid(fields)) if fields.iter().all(|field| field.pointer.starts_with("/evaluate")) => {
                plan(ExplainRequest { evaluate: None, ..request }, image)
            }
            planned => planned,
        }
    }
}

impl Explainer for Service {
    fn answer(&self, requests: Vec<ExplainRequest>, image: Option<Vec<u8>>, take: &mut dyn FnMut(Answered)) {
        let shared = engine::Shared::default();
        let one = |request: ExplainRequest| {
            let plan = self.plan(request, image.clone()).map_err(|error| Failure::from(error).to_string())?;
            engine::run_beside(&shared, &plan, self.threads, self.tokens_per_turn, &self.device)
                .map_err(|error| error.to_string())
        };
        requests.into_iter().for_each(|request| take(one(request)));
    }
}
