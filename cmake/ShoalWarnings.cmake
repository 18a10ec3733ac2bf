# One interface target carries the house's compiler flags.
add_library(shoal_flags INTERFACE)
target_compile_options(shoal_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes
  -Wmissing-prototypes -Wvla -Wformat=2 -Wcast-qual -Wundef -Wswitch-enum
  -fno-math-errno -fno-trapping-math -ffp-contract=off)
target_compile_definitions(shoal_flags INTERFACE _GNU_SOURCE SHOAL_VERSION_TEXT="${PROJECT_VERSION}")
if(SHOAL_WERROR)
  target_compile_options(shoal_flags INTERFACE -Werror)
endif()
if(SHOAL_SANITIZE)
  target_compile_options(shoal_flags INTERFACE -fsanitize=${SHOAL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(shoal_flags INTERFACE -fsanitize=${SHOAL_SANITIZE})
endif()
if(SHOAL_FUZZERS)
  target_compile_options(shoal_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
