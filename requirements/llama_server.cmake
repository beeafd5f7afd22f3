# llama.cpp's own server, built beside llama-cpp-python's libraries from the same source and the same objects.
#
# install.py has CMake include this file by CMAKE_PROJECT_llama_cpp_INCLUDE, at the project's beginning; what is below
# the return() runs at its end, when llama.cpp's targets are there. Left out are the 54 files of tools/mtmd, for
# pictures and sound (no_pictures.cpp is in their place), and the server's web page.
if(NOT LUNA_AT_THE_END)
    set(LUNA_AT_THE_END ON)
    cmake_language(EVAL CODE "cmake_language(DEFER CALL include [[${CMAKE_CURRENT_LIST_FILE}]])")
    return()
endif()

set(source "${CMAKE_CURRENT_SOURCE_DIR}/vendor/llama.cpp")
set(made "${CMAKE_CURRENT_BINARY_DIR}/llama-server-sources")  # not the program's own name, which is made beside it

# Its page: none.
set(N_ASSETS 0)
set(USE_GZIP false)
configure_file("${source}/tools/ui/ui.h.in" "${made}/ui.h")
configure_file("${source}/tools/ui/ui.cpp.in" "${made}/ui.cpp" @ONLY)

# Two lines are changed: a chat request may bring its prompt as tokens, as 'luna serve' does. Luna renders and cuts a
# conversation itself, the same way as in training and exam, and a mark of the template in a message stays text.
file(GLOB parts "${source}/tools/server/*.cpp")
macro(change file before after)
    file(READ "${source}/tools/server/${file}" text)
    string(FIND "${text}" "${before}" first)
    string(FIND "${text}" "${before}" last REVERSE)
    if(first EQUAL -1 OR NOT first EQUAL last)
        message(FATAL_ERROR "llama_server.cmake was written for another llama.cpp: ${file} has no single '${before}'.")
    endif()
    string(REPLACE "${before}" "${after}" text "${text}")
    file(CONFIGURE OUTPUT "${made}/${file}" CONTENT "${text}" @ONLY)
    list(REMOVE_ITEM parts "${source}/tools/server/${file}")
    list(APPEND parts "${made}/${file}")
endmacro()
change(server-common.cpp [[llama_params["prompt"]      = chat_params.prompt;]]
    [[llama_params["prompt"]      = body.contains("prompt") ? body.at("prompt") : json(chat_params.prompt);]])
change(server-chat.cpp [["stream", "chat_template_kwargs"}]] [["stream", "chat_template_kwargs", "prompt"}]])

add_executable(llama-server ${parts} "${made}/ui.cpp" "${CMAKE_CURRENT_LIST_DIR}/no_pictures.cpp")
target_include_directories(llama-server PRIVATE "${source}" "${source}/tools/server" "${source}/tools/mtmd" "${made}")
target_link_libraries(llama-server PRIVATE llama-common llama ggml cpp-httplib)
target_compile_features(llama-server PRIVATE cxx_std_17)

# Beside the libraries of llama_cpp; llama-common lies where llama.cpp itself installs it, two folders up.
if(APPLE)
    set(here "@loader_path")
else()
    set(here "$ORIGIN")
endif()
set_target_properties(llama-server PROPERTIES INSTALL_RPATH "${here};${here}/../../lib")
set_target_properties(llama-common PROPERTIES INSTALL_RPATH "${here}")
install(TARGETS llama-server RUNTIME DESTINATION "${SKBUILD_PLATLIB_DIR}/llama_cpp/lib")
