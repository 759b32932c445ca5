# find_package(puna) gives puna::puna and puna::static; pkg-config gives puna (and, with --static, libpuna.a's needs).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(PUNA_INSTALL_CMAKEDIR "${CMAKE_INSTALL_LIBDIR}/cmake/puna")
set(_puna_targets "")
if(TARGET puna)
    list(APPEND _puna_targets puna)
endif()
if(TARGET puna_static)
    set_target_properties(puna_static PROPERTIES EXPORT_NAME static)
    list(APPEND _puna_targets puna_static)
endif()
if(NOT _puna_targets)
    return()
endif()

install(TARGETS ${_puna_targets} EXPORT puna-targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/capi/include/" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT puna-targets NAMESPACE puna:: DESTINATION ${PUNA_INSTALL_CMAKEDIR})
configure_package_config_file(cmake/puna-config.cmake.in "${PROJECT_BINARY_DIR}/puna-config.cmake"
    INSTALL_DESTINATION ${PUNA_INSTALL_CMAKEDIR})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/puna-config-version.cmake" COMPATIBILITY SameMajorVersion)
install(FILES "${PROJECT_BINARY_DIR}/puna-config.cmake" "${PROJECT_BINARY_DIR}/puna-config-version.cmake"
    DESTINATION ${PUNA_INSTALL_CMAKEDIR})

# Relative to where puna.pc lies, so that an installed tree can be moved; a distribution may have given absolute folders.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(PUNA_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
else()
    file(RELATIVE_PATH _up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" _up "${_up}")
    set(PUNA_PC_PREFIX "\${pcfiledir}/${_up}")
endif()
foreach(_dir IN ITEMS LIBDIR INCLUDEDIR)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_${_dir}}")
        set(PUNA_PC_${_dir} "${CMAKE_INSTALL_${_dir}}")
    else()
        set(PUNA_PC_${_dir} "\${prefix}/${CMAKE_INSTALL_${_dir}}")
    endif()
endforeach()
configure_file(cmake/puna.pc.in "${PROJECT_BINARY_DIR}/puna.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/puna.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET puna_cli)
    install(TARGETS puna_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
