# prover_module(NAME SOURCES ... LINKS ...): a static library whose headers are seen by those that link it.
function(prover_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_LINKS} PRIVATE prover_warnings ${ARG_PRIVATE_LINKS})
endfunction()
