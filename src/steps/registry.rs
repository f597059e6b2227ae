//! The list of kinds, with their types erased once. It does not know what any kind does.

use std::collections::BTreeMap;

use plan::Value;

use super::{About, ArtifactType, Closing, Field, ParamError, ParamType, Step, StepError, Work};

type Check = fn(&Value) -> Result<Value, Vec<ParamError>>;
type Fits = fn(&Value, &[(&'static str, ArtifactType)]) -> Result<(), Vec<ParamError>>;
type Run = fn(&Value, &Work<'_>) -> Result<Closing, StepError>;

/// What is checked of a call of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Checks {
    check: Check,
    fits: Fits,
}

impl Checks {
    /// Parameters with defaults filled in, checked against the types of what is connected, if all of these are known.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn apply(self, params: &Value, connected: Option<&[(&'static str, ArtifactType)]>) -> Result<Value, Vec<ParamError>> {
        let params = (self.check)(params)?;
        connected.map_or(Ok(()), |connected| (self.fits)(&params, connected)).map(|()| params)
    }
}

/// A kind as recipes, documentation and executor see it.
pub struct Kind {
    /// Its description.
    pub about: About,
    /// Its parameters.
    pub fields: Vec<Field>,
    check: Check,
    fits: Fits,
    run: Run,
}

impl Kind {
    /// Parameters with defaults filled in, or all that is wrong with them.
    ///
    /// # Errors
    /// Every unknown, missing or unfit parameter.
    pub fn check(&self, params: &Value) -> Result<Value, Vec<ParamError>> {
        (self.check)(params)
    }

    /// [`Kind::check`] and [`Kind::fits`] without the kind.
    pub fn checks(&self) -> Checks {
        Checks { check: self.check, fits: self.fits }
    }

    /// Whether checked parameters suit the types of what is connected, by port.
    ///
    /// # Errors
    /// As [`Step::fits`].
    pub fn fits(&self, params: &Value, connected: &[(&'static str, ArtifactType)]) -> Result<(), Vec<ParamError>> {
        (self.fits)(params, connected)
    }

    /// Runs with checked parameters.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn run(&self, params: &Value, work: &Work<'_>) -> Result<Closing, StepError> {
        (self.run)(params, work)
    }
}

/// All kinds, by name.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Kind>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind.
    ///
    /// # Panics
    /// If the name is taken: two kinds of one name are a mistake of the program.
    #[must_use]
    pub fn with<S: Step>(mut self) -> Self {
        let about = S::about();
        let name = about.name;
        let kind = Kind {
            about,
            fields: S::Params::fields(),
            check: |value| {
                let mut params = S::Params::from_value("", value)?;
                S::complete(&mut params)?;
                Ok(params.to_value())
            },
            fits: |value, connected| S::fits(&S::Params::from_value("", value)?, connected),
            run: |value, work| {
                let params = S::Params::from_value("", value)
                    .map_err(|errors| StepError::Failed(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
                S::run(params, work)
            },
        };
        assert!(self.kinds.insert(name, kind).is_none(), "two kinds are called {name}");
        self
    }

    /// A kind by name.
    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// All kinds, sorted by name.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.values()
    }
}
