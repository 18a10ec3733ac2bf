# shoal_folder(NAME SOURCES ... USES ... LIBS ... TESTS ...)
#
# One static library per folder of src/. The include rule is enforced by construction: every folder is
# visible only through a directory of its own that holds one symbolic link to it, and a target gets
# those directories of the folders that it USES (and, through them, of the folders these use).
# Including a folder that is not named, or one further down the table, does not compile.
set(SHOAL_FARM ${CMAKE_BINARY_DIR}/include-farm)

# What ThreadSanitizer runs: reference kernels and the in-process transport (libzmq and libgomp raise false alarms).
set(SHOAL_TSAN_TESTS distribution_test base_test platform_test tensor_test graph_test weights_test memory_plan_test model_test
  run_step_test pool_test inproc_test node_test node_jobs_test node_calls_test job_test contents_faults_test contract_stashing_test contract_slice_test)

function(shoal_folder NAME)
  cmake_parse_arguments(F "" "" "SOURCES;USES;LIBS;TESTS" ${ARGN})
  string(REPLACE "/" "_" target ${NAME})
  string(REGEX REPLACE "/.*" "" top ${NAME})
  file(MAKE_DIRECTORY ${SHOAL_FARM}/${top})
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/src/${top} ${SHOAL_FARM}/${top}/${top} SYMBOLIC)
  list(TRANSFORM F_SOURCES PREPEND ${CMAKE_SOURCE_DIR}/src/${NAME}/)
  add_library(shoal_${target} STATIC ${F_SOURCES})
  target_include_directories(shoal_${target} PUBLIC ${CMAKE_SOURCE_DIR}/include ${SHOAL_FARM}/${top})
  target_link_libraries(shoal_${target} PUBLIC shoal_flags)
  foreach(use ${F_USES})
    if(NOT TARGET shoal_${use})
      message(FATAL_ERROR "src/${NAME} uses ${use}, which is not above it in the house")
    endif()
    target_link_libraries(shoal_${target} PUBLIC shoal_${use})
  endforeach()
  target_link_libraries(shoal_${target} PUBLIC ${F_LIBS})
  if(SHOAL_TESTS)
    set(SHOAL_TEST_KIND unit)
    foreach(test ${F_TESTS})
      shoal_test(${test} SOURCES ${CMAKE_SOURCE_DIR}/src/${NAME}/${test}.c USES ${target})
    endforeach()
  endif()
endfunction()

# shoal_test(NAME SOURCES ... USES ... [LIBS ...] [TIMEOUT s]): a cmocka program, registered with CTest.
# NAME, the file's name without .c, must be unique in the project.
function(shoal_test NAME)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;USES;LIBS;ARGS" ${ARGN})
  add_executable(${NAME} ${T_SOURCES})
  target_link_libraries(${NAME} PRIVATE shoal_flags ${T_LIBS} PkgConfig::CMOCKA)
  foreach(use ${T_USES})
    target_link_libraries(${NAME} PRIVATE shoal_${use})
  endforeach()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  if(CMAKE_CROSSCOMPILING)
    math(EXPR T_TIMEOUT "${T_TIMEOUT} * 10") # an emulator takes its time
  endif()
  add_test(NAME ${NAME} COMMAND ${NAME} ${T_ARGS})
  set_tests_properties(${NAME} PROPERTIES TIMEOUT ${T_TIMEOUT}
    ENVIRONMENT "SHOAL_SOURCE_DIR=${CMAKE_SOURCE_DIR};SHOAL_BINARY=${CMAKE_BINARY_DIR}/shoal")
  if(CMAKE_CROSSCOMPILING)
    set_property(TEST ${NAME} APPEND PROPERTY ENVIRONMENT SHOAL_EMULATED=1)
  endif()
  set_property(TEST ${NAME} APPEND PROPERTY LABELS ${SHOAL_TEST_KIND})
  if(NAME IN_LIST SHOAL_TSAN_TESTS)
    set_property(TEST ${NAME} APPEND PROPERTY LABELS tsan)
  endif()
endfunction()

# shoal_fuzz(NAME SOURCES f.c USES ... CORPUS dir): with SHOAL_FUZZERS a libFuzzer program; always a
# replay test that runs every file of the corpus through the same LLVMFuzzerTestOneInput.
function(shoal_fuzz NAME)
  cmake_parse_arguments(Z "" "CORPUS" "SOURCES;USES;LIBS" ${ARGN})
  if(SHOAL_TESTS)
    add_executable(${NAME}_replay ${Z_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.c)
    target_link_libraries(${NAME}_replay PRIVATE shoal_flags ${Z_LIBS})
    add_test(NAME ${NAME}_replay COMMAND ${NAME}_replay ${Z_CORPUS})
    set_tests_properties(${NAME}_replay PROPERTIES TIMEOUT 120)
  endif()
  if(SHOAL_FUZZERS)
    add_executable(${NAME} ${Z_SOURCES})
    target_link_libraries(${NAME} PRIVATE shoal_flags ${Z_LIBS})
    target_compile_options(${NAME} PRIVATE -fsanitize=fuzzer)
    target_link_options(${NAME} PRIVATE -fsanitize=fuzzer)
  endif()
  foreach(use ${Z_USES})
    if(SHOAL_TESTS)
      target_link_libraries(${NAME}_replay PRIVATE shoal_${use})
    endif()
    if(SHOAL_FUZZERS)
      target_link_libraries(${NAME} PRIVATE shoal_${use})
    endif()
  endforeach()
endfunction()
