//! `config.json` as `transformers` reads and writes it, for every family, in both generations of the rotary fields.
//!
//! A composition of no family is written whole under `model_type` "workbench".

use serde_json::{Map, Value, json};

use super::families::Family;
use super::{
    Attention, ConfigError, Experts, FeedForward, GatedDelta, Layer, Mixer, ModelConfig, NO_TOKEN, NormKind, NormOrder, Rope,
    RopeScaling,
};

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";
const LINEAR: &str = "linear_attention";

impl Family {
    fn architecture(self) -> &'static str {
        match self {
            Self::Olmo => "OlmoForCausalLM",
            Self::Olmo2 => "Olmo2ForCausalLM",
            Self::Olmo3 => "Olmo3ForCausalLM",
            Self::OlmoHybrid => "OlmoHybridForCausalLM",
            Self::Olmoe => "OlmoeForCausalLM",
            Self::FlexOlmo => "FlexOlmoForCausalLM",
            Self::Custom => "WorkbenchForCausalLM",
        }
    }

    /// What the class of `transformers` takes for a theta that a file does not name.
    fn default_theta(self) -> f64 {
        if matches!(self, Self::Olmo3 | Self::FlexOlmo) { 500_000.0 } else { 10_000.0 }
    }

    /// What the class of `transformers` takes for an epsilon that a file does not name.
    fn default_eps(self) -> f64 {
        if matches!(self, Self::OlmoHybrid | Self::FlexOlmo) { 1e-6 } else { 1e-5 }
    }

    /// What the class of `transformers` takes for a count that a file does not name.
    fn default_count(self, name: &str) -> Option<usize> {
        let wide = matches!(self, Self::OlmoHybrid | Self::FlexOlmo);
        let [hidden, intermediate, layers, heads, length] = match self {
            Self::OlmoHybrid => [3840, 11_008, 32, 30, 65_536],
            Self::Olmoe => [2048, 2048, 16, 16, 4096],
            Self::FlexOlmo => [4096, 11_008, 32, 32, 4096],
            _ => [4096, 11_008, 32, 32, 2048],
        };
        Some(match name {
            "vocab_size" => {
                if wide {
                    100_352
                } else {
                    50_304
                }
            }
            "hidden_size" => hidden,
            "intermediate_size" => intermediate,
            "num_hidden_layers" => layers,
            "num_attention_heads" => heads,
            "max_position_embeddings" => length,
            "eos_token_id" => {
                if wide {
                    100_257
                } else {
                    50_279
                }
            }
            "pad_token_id" => {
                if wide {
                    100_277
                } else {
                    1
                }
            }
            "num_experts" => {
                if self == Self::FlexOlmo {
                    7
                } else {
                    64
                }
            }
            "num_experts_per_tok" => {
                if self == Self::FlexOlmo {
                    5
                } else {
                    8
                }
            }
            _ => return None,
        })
    }

    fn has_experts(self) -> bool {
        matches!(self, Self::Olmoe | Self::FlexOlmo)
    }
}

fn token_json(id: u32) -> Value {
    if id == NO_TOKEN { Value::Null } else { id.into() }
}

/// Token ids of field `name`: one or a list, without null, negative and repeated ones.
fn token_ids(name: &str, value: &Value) -> Result<Vec<u32>, ConfigError> {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let mut ids = Vec::new();
    for id in all.iter().filter(|id| !id.is_null() && id.as_i64().is_none_or(|id| id >= 0)) {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| ConfigError::Field(name.into()))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn rope_json(rope: Option<Rope>) -> Value {
    let Some(Rope { theta, scaling }) = rope else { return json!({ "rope_theta": null, "rope_type": "default" }) };
    match scaling {
        None => json!({ "rope_theta": theta, "rope_type": "default" }),
        Some(RopeScaling::Linear { factor }) => json!({ "factor": factor, "rope_theta": theta, "rope_type": "linear" }),
        Some(RopeScaling::Yarn { factor, original_max_position_embeddings, beta_fast, beta_slow, attention_factor }) => {
            let mut value = json!({
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "factor": factor,
                "original_max_position_embeddings": original_max_position_embeddings,
                "rope_theta": theta,
                "rope_type": "yarn",
            });
            if let Some(attention_factor) = attention_factor {
                value["attention_factor"] = attention_factor.into();
            }
            value
        }
    }
}

impl ModelConfig {
    /// The Hugging Face `config.json` of this model; of type "workbench" when no class of `transformers` computes it.
    pub fn to_hf(&self) -> Value {
        // The hybrid's class refuses a model without layers of both kinds.
        let attends = self.layers.iter().filter(|layer| layer.attention().is_some()).count();
        let one_kind = self.family == Family::OlmoHybrid && (attends == 0 || attends == self.n_layers());
        if self.family != Family::Custom && !one_kind {
            let value = self.family_json(self.family);
            if Self::from_hf(&value).is_ok_and(|read| &read == self) {
                return value;
            }
        }
        let custom = Self { family: Family::Custom, ..self.clone() };
        json!({
            "architectures": [Family::Custom.architecture()],
            "model_type": Family::Custom.model_type(),
            "workbench": serde_json::to_value(custom).unwrap_or_default(),
        })
    }

    /// The tokens that end a text as files have them: null, one, or a list.
    pub fn eos_json(&self) -> Value {
        if self.further_eos_token_ids.is_empty() { token_json(self.eos_token_id) } else { json!(self.eos_token_ids()) }
    }

    /// Takes up what `generation_config.json` adds: further tokens that end a text.
    ///
    /// # Errors
    /// When a token is none.
    pub fn add_generation_config(&mut self, config: &Value) -> Result<(), ConfigError> {
        for id in token_ids("eos_token_id", &config["eos_token_id"])? {
            if self.eos_token_id == NO_TOKEN {
                self.eos_token_id = id;
            } else if !self.eos_token_ids().contains(&id) {
                self.further_eos_token_ids.push(id);
            }
        }
        Ok(())
    }

    fn family_json(&self, family: Family) -> Value {
        let attention = self.attention();
        let head_dim = attention.map_or(0, |a| a.head_dim);
        let mut map = json!({
            "architectures": [family.architecture()],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": null,
            "dtype": "float32",
            "eos_token_id": self.eos_json(),
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size(),
            "max_position_embeddings": self.max_position_embeddings,
            "model_type": family.model_type(),
            "num_attention_heads": attention.map_or(1, |a| a.n_heads),
            "num_hidden_layers": self.n_layers(),
            "num_key_value_heads": attention.map_or(1, |a| a.n_kv_heads),
            "pad_token_id": token_json(self.pad_token_id),
            "tie_word_embeddings": self.tie_word_embeddings,
            "use_cache": true,
            "vocab_size": self.vocab_size,
        });
        if attention.is_some_and(|a| a.n_heads * head_dim != self.hidden_size) || family == Family::Olmo2 {
            map["head_dim"] = head_dim.into();
        }
        if self.norm == NormKind::Rms {
            map["rms_norm_eps"] = self.norm_eps.into();
        }
        if matches!(family, Family::Olmo | Family::Olmoe) {
            map["clip_qkv"] = attention.and_then(|a| a.clip_qkv).map_or(Value::Null, Value::from);
        }
        let rope = |wanted: fn(&Attention) -> bool| {
            let found = self.layers.iter().filter_map(Layer::attention).find(|a| wanted(a)).or(attention);
            rope_json(found.and_then(|a| a.rope))
        };
        map["rope_parameters"] = match family {
            Family::Olmo3 => json!({ FULL: rope(|a| a.window.is_none()), SLIDING: rope(|a| a.window.is_some()) }),
            _ => rope(|_| true),
        };
        if family == Family::Olmo2 {
            map["rope_theta"] = map["rope_parameters"]["rope_theta"].clone();
        }
        if matches!(family, Family::Olmo3 | Family::OlmoHybrid) {
            let name = |layer: &Layer| match layer.mixer {
                Mixer::GatedDelta(_) => LINEAR,
                Mixer::Attention(Attention { window: Some(_), .. }) => SLIDING,
                Mixer::Attention(_) => FULL,
            };
            map["layer_types"] = self.layers.iter().map(name).collect();
        }
        if family == Family::Olmo3 {
            let window = self.layers.iter().filter_map(Layer::attention).find_map(|a| a.window);
            map["sliding_window"] = window.unwrap_or(4096).into();
        }
        for layer in &self.layers {
            if let Mixer::GatedDelta(g) = layer.mixer {
                map["linear_num_key_heads"] = g.n_key_heads.into();
                map["linear_num_value_heads"] = g.n_value_heads.into();
                map["linear_key_head_dim"] = g.key_head_dim.into();
                map["linear_value_head_dim"] = g.value_head_dim.into();
                map["linear_conv_kernel_dim"] = g.conv_size.into();
                map["linear_allow_neg_eigval"] = g.allow_negative_eigenvalues.into();
            }
            if let FeedForward::Experts(e) = layer.feed_forward {
                map["num_experts"] = e.n_experts.into();
                map["num_experts_per_tok"] = e.top_k.into();
                map["norm_topk_prob"] = e.normalize.into();
                map["output_router_logits"] = false.into();
                map["router_aux_loss_coef"] = json!(0.01);
            }
        }
        map
    }

    /// Reads a Hugging Face `config.json`, of either generation (`rope_parameters`, or `rope_theta` and `rope_scaling`).
    ///
    /// # Errors
    /// When the model type or an option is not supported, a field is missing, or the sizes do not fit together.
    pub fn from_hf(config: &Value) -> Result<Self, ConfigError> {
        let fields = Fields(config.as_object().ok_or_else(|| ConfigError::Field("model_type".into()))?);
        let name = fields.text("model_type")?.ok_or_else(|| ConfigError::Field("model_type".into()))?;
        let known = || Family::ALL.map(Family::model_type).join(", ");
        let family = Family::ALL
            .into_iter()
            .find(|family| family.model_type() == name)
            .ok_or_else(|| ConfigError::Family { name: name.into(), known: known() })?;
        let result = if family == Family::Custom {
            let whole = fields.0.get("workbench").cloned().unwrap_or_default();
            serde_json::from_value(whole).map_err(|error| ConfigError::Field(format!("workbench: {error}")))?
        } else {
            fields.model(family)?
        };
        result.validate()?;
        Ok(result)
    }
}

/// The fields of a `config.json`.
struct Fields<'a>(&'a Map<String, Value>);

fn unsupported(field: &str, value: &Value, reason: &str) -> ConfigError {
    ConfigError::Unsupported { field: field.into(), value: value.to_string(), reason: reason.into() }
}

impl<'a> Fields<'a> {
    /// A field that is there and not null.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn read<T>(&self, name: &str, convert: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, ConfigError> {
        self.get(name).map(|value| convert(value).ok_or_else(|| ConfigError::Field(name.into()))).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, ConfigError> {
        self.read(name, Value::as_str)
    }

    fn number(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        self.read(name, Value::as_f64)
    }

    fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        Ok(self.read(name, Value::as_bool)?.unwrap_or(false))
    }

    fn count(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        self.read(name, |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    /// A count that the class has a default for.
    fn size(&self, family: Family, name: &str) -> Result<usize, ConfigError> {
        self.count(name)?.or(family.default_count(name)).ok_or_else(|| ConfigError::Field(name.into()))
    }

    /// Token ids of a field that takes one or several: none when it is null, empty or negative, the class's when it is not
    /// there.
    fn tokens(&self, family: Family, name: &str) -> Result<Vec<u32>, ConfigError> {
        match self.0.get(name) {
            None => Ok(family.default_count(name).and_then(|id| u32::try_from(id).ok()).into_iter().collect()),
            Some(value) => token_ids(name, value),
        }
    }

    fn model(&self, family: Family) -> Result<ModelConfig, ConfigError> {
        if let Some(act) = self.get("hidden_act").filter(|act| act.as_str() != Some("silu")) {
            return Err(unsupported("hidden_act", act, "every published model uses \"silu\""));
        }
        if self.flag("attention_bias")? {
            return Err(unsupported("attention_bias", &Value::Bool(true), "no published model has biases"));
        }
        let hidden_size = self.size(family, "hidden_size")?;
        let n_layers = self.size(family, "num_hidden_layers")?;
        let layers = (0..n_layers).map(|index| self.layer(family, hidden_size, n_layers, index)).collect::<Result<_, _>>()?;
        let norm = if family == Family::Olmo { NormKind::Layer } else { NormKind::Rms };
        let norm_eps = match norm {
            // Fixed in the code of the model.
            NormKind::Layer => 1e-5,
            NormKind::Rms => self.number("rms_norm_eps")?.unwrap_or(family.default_eps()),
        };
        let eos = self.tokens(family, "eos_token_id")?;
        Ok(ModelConfig {
            family,
            vocab_size: self.size(family, "vocab_size")?,
            hidden_size,
            norm,
            norm_eps,
            layers,
            tie_word_embeddings: self.flag("tie_word_embeddings")?,
            max_position_embeddings: self.size(family, "max_position_embeddings")?,
            eos_token_id: eos.first().copied().unwrap_or(NO_TOKEN),
            further_eos_token_ids: eos.get(1..).unwrap_or_default().to_vec(),
            pad_token_id: self.tokens(family, "pad_token_id")?.first().copied().unwrap_or(NO_TOKEN),
        })
    }

    fn layer(&self, family: Family, hidden_size: usize, n_layers: usize, index: usize) -> Result<Layer, ConfigError> {
        let kind = self.layer_type(family, n_layers, index)?;
        let order = match family {
            Family::Olmo | Family::Olmoe => NormOrder::Pre,
            _ if kind == LINEAR => NormOrder::Pre,
            _ => NormOrder::Post,
        };
        let mixer = if kind == LINEAR {
            Mixer::GatedDelta(self.gated_delta(family, hidden_size)?)
        } else {
            let n_heads = self.size(family, "num_attention_heads")?;
            let window = if kind == SLIDING { Some(self.window()?) } else { None };
            let clip = if matches!(family, Family::Olmo | Family::Olmoe) { self.number("clip_qkv")? } else { None };
            Mixer::Attention(Attention {
                n_heads,
                n_kv_heads: self.count("num_key_value_heads")?.unwrap_or(n_heads),
                head_dim: self.count("head_dim")?.unwrap_or(hidden_size / n_heads.max(1)),
                qk_norm: family != Family::Olmo,
                clip_qkv: clip,
                window,
                rope: self.rope(family, kind)?,
            })
        };
        let intermediate_size = self.size(family, "intermediate_size")?;
        let feed_forward = if family.has_experts() {
            FeedForward::Experts(Experts {
                n_experts: self.size(family, "num_experts")?,
                top_k: self.size(family, "num_experts_per_tok")?,
                normalize: self.flag("norm_topk_prob")?,
                intermediate_size,
            })
        } else {
            FeedForward::SwiGlu { intermediate_size }
        };
        Ok(Layer { mixer, order, feed_forward })
    }

    fn layer_type(&self, family: Family, n_layers: usize, index: usize) -> Result<&'a str, ConfigError> {
        let (other, allowed): (&str, &[&str]) = match family {
            Family::Olmo3 => (SLIDING, &[SLIDING, FULL]),
            Family::OlmoHybrid => (LINEAR, &[LINEAR, FULL]),
            _ => return Ok(FULL),
        };
        let Some(types) = self.get("layer_types") else {
            // A hybrid of fewer than four layers has its attention in the last.
            let short = family == Family::OlmoHybrid && n_layers < 4 && index + 1 == n_layers;
            return Ok(if index % 4 == 3 || short { FULL } else { other });
        };
        let list = types.as_array().filter(|list| list.len() == n_layers);
        let Some(list) = list else {
            return Err(unsupported("layer_types", types, "it must name every layer of num_hidden_layers"));
        };
        let name = list[index].as_str().unwrap_or_default();
        allowed
            .iter()
            .find(|known| **known == name)
            .map(|_| name)
            .ok_or_else(|| unsupported("layer_types", &list[index], &format!("a layer may be {}", allowed.join(" or "))))
    }

    fn window(&self) -> Result<usize, ConfigError> {
        if self.0.get("sliding_window").is_some_and(Value::is_null) {
            return Err(unsupported("sliding_window", &Value::Null, "a layer of type sliding_attention needs a length"));
        }
        Ok(self.count("sliding_window")?.unwrap_or(4096))
    }

    fn gated_delta(&self, family: Family, hidden_size: usize) -> Result<GatedDelta, ConfigError> {
        let heads = self.size(family, "num_attention_heads")?;
        let n_key_heads = self.count("linear_num_key_heads")?.unwrap_or(heads);
        let key_head_dim = self.count("linear_key_head_dim")?.unwrap_or(3 * hidden_size / (4 * n_key_heads.max(1)));
        if self.get("linear_use_gate").and_then(Value::as_bool) == Some(false) {
            return Err(unsupported("linear_use_gate", &Value::Bool(false), "the output gate is part of every published model"));
        }
        Ok(GatedDelta {
            n_key_heads,
            n_value_heads: self.count("linear_num_value_heads")?.unwrap_or(heads),
            key_head_dim,
            value_head_dim: self.count("linear_value_head_dim")?.unwrap_or(2 * key_head_dim),
            conv_size: self.count("linear_conv_kernel_dim")?.unwrap_or(4),
            allow_negative_eigenvalues: self.read("linear_allow_neg_eigval", Value::as_bool)?.unwrap_or(true),
        })
    }

    /// The rotary positions of a layer; `None` when theta is null, which only Olmo Hybrid takes to mean none.
    fn rope(&self, family: Family, kind: &str) -> Result<Option<Rope>, ConfigError> {
        let (parameters, scaling) = (self.get("rope_parameters"), self.get("rope_scaling"));
        let theta = self.0.get("rope_theta");
        if family == Family::Olmo3 {
            return self.rope_by_type(kind, parameters, scaling, theta);
        }
        // Like `transformers`: the older field comes first.
        let (field, parameters) = match (scaling, parameters) {
            (Some(scaling), _) => ("rope_scaling", scaling),
            (None, Some(parameters)) => ("rope_parameters", parameters),
            (None, None) => ("rope_theta", &Value::Null),
        };
        self.rope_of(family, field, parameters, parameters.get("rope_theta").or(theta))
    }

    /// The rotary positions of a layer of Olmo 3. Like its class in `transformers`, which reads what stands under the layer's
    /// type and nothing else of `rope_parameters`, and gives `rope_scaling` and a file's theta to the full layers only; the
    /// sliding ones have the class's default (they are the same in every published model).
    fn rope_by_type(
        &self,
        kind: &str,
        parameters: Option<&Value>,
        scaling: Option<&Value>,
        theta: Option<&Value>,
    ) -> Result<Option<Rope>, ConfigError> {
        let own = parameters.and_then(|all| all.get(kind)).and_then(Value::as_object);
        let (mut own, mut field) = (own.cloned().unwrap_or_default(), "rope_parameters");
        if kind == FULL {
            if let Some(scaling) = scaling {
                field = "rope_scaling";
                own.extend(scaling.as_object().ok_or_else(|| ConfigError::Field(field.into()))?.clone());
            }
            if let (false, Some(theta)) = (own.contains_key("rope_theta"), theta) {
                own.insert("rope_theta".into(), theta.clone());
            }
        }
        let theta = own.get("rope_theta").cloned();
        self.rope_of(Family::Olmo3, field, &Value::Object(own), theta.as_ref())
    }

    fn rope_of(
        &self,
        family: Family,
        field: &str,
        parameters: &Value,
        theta: Option<&Value>,
    ) -> Result<Option<Rope>, ConfigError> {
        let theta = match theta {
            Some(Value::Null) if family == Family::OlmoHybrid => return Ok(None),
            None | Some(Value::Null) => family.default_theta(),
            Some(value) => value.as_f64().ok_or_else(|| ConfigError::Field("rope_theta".into()))?,
        };
        let missing = |name: &str| ConfigError::Field(format!("{field}.{name}"));
        let number = |name: &str| match parameters.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| missing(name)),
        };
        for name in ["mscale", "mscale_all_dim", "partial_rotary_factor", "truncate"] {
            let plain = matches!(parameters.get(name), None | Some(Value::Null))
                || parameters.get(name) == Some(&Value::Bool(true))
                || (name == "partial_rotary_factor" && parameters.get(name).and_then(Value::as_f64) == Some(1.0));
            if !plain {
                return Err(unsupported(&format!("{field}.{name}"), &parameters[name], "no published model uses it"));
            }
        }
        let kind = parameters.get("rope_type").or(parameters.get("type")).and_then(Value::as_str).unwrap_or("default");
        let scaling = match kind {
            "default" => None,
            "linear" => Some(RopeScaling::Linear { factor: number("factor")?.ok_or_else(|| missing("factor"))? }),
            "yarn" => {
                let before = match number("original_max_position_embeddings")? {
                    Some(n) => n as usize,
                    None => self.size(family, "max_position_embeddings")?,
                };
                Some(RopeScaling::Yarn {
                    factor: number("factor")?.ok_or_else(|| missing("factor"))?,
                    original_max_position_embeddings: before,
                    beta_fast: number("beta_fast")?.unwrap_or(32.0),
                    beta_slow: number("beta_slow")?.unwrap_or(1.0),
                    attention_factor: number("attention_factor")?,
                })
            }
            other => {
                let value = Value::String(other.into());
                return Err(unsupported(&format!("{field}.rope_type"), &value, "supported: default, linear, yarn"));
            }
        };
        Ok(Some(Rope { theta, scaling }))
    }
}
