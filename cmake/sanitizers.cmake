# PROVER_SANITIZE=address,undefined or thread, for every target in the tree.
if(PROVER_SANITIZE)
  add_compile_options(-fsanitize=${PROVER_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PROVER_SANITIZE})
endif()
