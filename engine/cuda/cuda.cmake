# The kernels for Hopper are compiled for sm_90a alone; what serves every GPU, for sm_80 and sm_90 (newer ones compile
# the latter's PTX when the program starts on them).
if(PROVER_CUDA_BUILD)
  file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS cuda/*.cu)
  set(CUDA_HOPPER -gencode=arch=compute_90a,code=sm_90a)
  set(CUDA_COMMON -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=[sm_90,compute_90])
  foreach(source ${CUDA_SOURCES})
    if(source MATCHES "engine_cuda_(backend|batch|comm[a-z_]*|device|generic[a-z_]*|graph|sampler[a-z_]*|share|step|team|upload)\\.cu$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${CUDA_COMMON}")
    else()
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${CUDA_HOPPER}")
    endif()
  endforeach()
  target_sources(engine PRIVATE ${CUDA_SOURCES})
  target_include_directories(engine PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/cuda)
  target_compile_definitions(engine PRIVATE PROVER_CUDA)
  target_compile_options(
    engine PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>
                   $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${PROVER_WERROR}>>:-Xcompiler=-Werror>)
  set_target_properties(engine PROPERTIES CUDA_RUNTIME_LIBRARY Static)
endif()
