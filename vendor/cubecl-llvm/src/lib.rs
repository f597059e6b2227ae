//! A stand-in for the crate `cubecl-llvm`: the names that `cubecl-cuda` uses, without a compiler behind them.
//!
//! `cubecl-cuda` can turn kernels into CUDA C++ for NVRTC or into PTX through LLVM, and links both ways always. The build
//! script of the real `cubecl-llvm` downloads an LLVM distribution, which a build without network cannot do. This
//! program chooses the CUDA C++ way (feature `cuda-cpp` of `cubecl`), in which nothing here is ever called: whoever
//! chooses LLVM gets a compilation error that says so.

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_runtime::compiler::{CompilationError, Compiler};
use cubecl_runtime::kernel::BufferIOAttr;

/// Names for NVIDIA devices.
pub mod nvptx {
    /// The version of the PTX instruction set.
    pub mod ptx_version {
        /// A PTX version; LLVM is not there, so no version is ever chosen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(u32);

        impl PtxVersion {
            /// The version to emit for a driver of CUDA `driver`: none.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "ptx{}", self.0)
            }
        }
    }
}

/// Names shared by the targets.
pub mod shared {
    /// What a target can lower.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// A GPU target.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA.
            Nvptx,
        }

        /// Takes nothing away: only the LLVM way calls this.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}

/// What LLVM would compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA.
    Nvptx,
}

/// Options of a compilation.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// Architecture by name.
    pub arch: Option<String>,
    /// Architecture as the driver tells it.
    pub sm_arch: Option<SmArch>,
    /// PTX version.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether kernels take their parameters as grid constants.
    pub grid_constants: bool,
    /// Keeps the struct open, as the real one is.
    pub reserved: (),
}

/// A compiled module.
#[derive(Debug)]
pub struct NvptxModule {
    /// PTX, ended by a NUL.
    pub ptx: Vec<core::ffi::c_char>,
    /// The kernel's symbol.
    pub entrypoint: String,
    /// Its text before LLVM.
    pub ir: String,
    /// Bytes of shared memory.
    pub shared_memory_size: usize,
    /// How it uses its buffers.
    pub io: Vec<BufferIOAttr>,
}

/// What a compilation gives.
#[derive(Debug)]
pub enum PlironArtifact {
    /// For NVIDIA.
    NvptxCode(NvptxModule),
    /// For nothing; keeps the enum open, as the real one is.
    None,
}

impl core::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NvptxCode(module) => f.write_str(&module.ir),
            Self::None => Ok(()),
        }
    }
}

/// The compiler that is not there.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What it would compile for.
    pub target: LlvmTarget,
}

impl Default for PlironCompiler {
    fn default() -> Self {
        Self { target: LlvmTarget::Nvptx }
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &Self::CompilationOptions,
    ) -> Result<Self::Representation, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build has no LLVM; CUDA kernels go through NVRTC (cubecl's feature `cuda-cpp`)".into(),
            backtrace: Default::default(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
