# One interface target that every target of ours links: the warnings that the code is kept clean of.
add_library(prover_warnings INTERFACE)
target_compile_options(
  prover_warnings
  INTERFACE $<$<COMPILE_LANGUAGE:C>:-Wall
            -Wextra
            -Wshadow
            -Wconversion
            -Wvla
            -Wstrict-prototypes
            -Wmissing-prototypes
            -Wpointer-arith
            -Wwrite-strings>)
if(PROVER_WERROR)
  target_compile_options(prover_warnings INTERFACE $<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()
