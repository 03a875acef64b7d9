# PROVER_SANITIZE=address,undefined or thread, for every target in the tree.
if(PROVER_SANITIZE)
  add_compile_options(-fsanitize=${PROVER_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PROVER_SANITIZE})
endif()
# The fuzzer is guided by what runs inside the library, so all of it is instrumented.
if(PROVER_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
